"""One thread a process, so that tests run side by side are quick; and the same examples on every run."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("struthio", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("struthio")
