import sys
from pathlib import Path

# The tiny networks of the model tests.
sys.path.append(str(Path(__file__).parents[1] / "model"))
