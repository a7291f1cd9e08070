"""Models trained by recipes, robustly or not.

Start from `fit`: a model, labelled rows, a recipe (`registry.py` is the list) and a `Plan`.
"""

from struthio.train.fit import Progress, Trained, fit
from struthio.train.plan import Evaluation, Plan
from struthio.train.recipe import Moment, Recipe
from struthio.train.recipe_file import earlier

__all__ = ["Evaluation", "Moment", "Plan", "Progress", "Recipe", "Trained", "earlier", "fit"]
