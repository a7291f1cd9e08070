"""Pictures that teach, each with the numbers behind it."""

from struthio.explain.matrix import TransferMatrix
from struthio.explain.transfer import transfer_matrix

__all__ = ["TransferMatrix", "transfer_matrix"]
