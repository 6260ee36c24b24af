"""Process models in torch: differentiable HBV, routing and potential evapotranspiration."""

from stefaland.physics.hbv import Simulation as Simulation
from stefaland.physics.hbv import State as State
from stefaland.physics.hbv import simulate as simulate
