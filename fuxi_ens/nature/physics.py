"""Names of the physics that forecasts can be made with; light, because the command line asks for them."""

from typing import Literal

Physics = Literal["perfect", "imperfect"]
"""`perfect`: the model of the nature run itself. `imperfect`: with other constants, see `model.parameters`."""
