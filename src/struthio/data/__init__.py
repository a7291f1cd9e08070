"""What an attack is tried on: photographs from files, and data sets that stream.

Start from `load_data` (a data set from one line of text) and `pictures.read_picture` (one photograph).
"""

from struthio.data.sets import DATA, Samples, load_data

__all__ = ["DATA", "Samples", "load_data"]
