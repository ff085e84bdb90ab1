"""The nature model: jcm with SPEEDY physics at T31L8, three corrections and a rain gauge.

Corrections to jcm 3.0.0, each measured on a 90-day run:
  diffusion  jcm's default (del^4) halves eddy energy; Molteni (2003) uses del^8 in 2.4 h.
  mass       jcm's state of rest weighs 1002 hPa; the atmosphere over real orography, 985 hPa.
  orography  see `boundary.terrain`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jcm.diffusion import DiffusionFilter
from jcm.dycore.dinosaur import DinosaurDycore
from jcm.forcing import ForcingData
from jcm.model import Model
from jcm.physics.physics_term import PhysicsTerm
from jcm.physics.speedy.params import Parameters
from jcm.physics.speedy.speedy_coords import get_speedy_coords
from jcm.physics.speedy.speedy_terms import speedy_physics
from jcm.physics_interface import PhysicsTendency

from fuxi_ens.nature import boundary
from fuxi_ens.nature.physics import Physics

TIME_STEP_SECONDS = 1800.0
MEAN_SURFACE_PRESSURE_PA = 98_500.0
DIFFUSION_SECONDS = 2.4 * 3600.0
DEL8 = 4
MM_PER_M = 1000.0
IMPERFECT_DIFFUSION_SECONDS = 12.0 * 3600.0
"""Weaker damping of the smallest scales than the truth's."""


class Carry(NamedTuple):
    """Everything the model needs to go on: a pytree of arrays.

    `dynamics` is the spectral state, `physics` the memory of the physics, `time` the model's
    date, `step` the count of time steps.
    """

    dynamics: Any
    physics: Any
    time: Any
    step: Any


class RainGauge(PhysicsTerm):  # type: ignore[misc]
    """Accumulate precipitation, kg m-2: jcm's snapshots hold only the instantaneous rate."""

    name = "rain_gauge"
    category = "diagnostics"
    requires = ("surface_exchange",)
    provides = ("rain_gauge",)

    def initial_carry_state(self, coords: Any) -> dict[str, jax.Array]:
        """Return the empty gauge, one value per column."""
        return {"rain_gauge": jnp.zeros(coords.horizontal.nodal_shape, jnp.float32)}

    def __call__(self, state: Any, diagnostics: Any, forcing: Any, terrain: Any) -> tuple[Any, Any]:
        """Add this step's rain to the gauge and change nothing else."""
        rain = diagnostics["surface_exchange"].precipitation * diagnostics["_dt_seconds"]
        total = (diagnostics.get("rain_gauge", 0.0) + rain).astype(jnp.float32)
        none = PhysicsTendency.zeros(state.temperature.shape)
        return none, {**diagnostics, "rain_gauge": total}


def parameters(physics: Physics) -> Parameters:
    """Constants of the physics: those of the nature run, or of a model that is wrong as operational ones are.

    The wrong one differs where schemes of convection, condensation and surface drag are tuned in practice.
    """
    default = Parameters.default()
    if physics == "perfect":
        return default
    convection = default.convection.replace(trcnv=jnp.array(9.0), rhbl=jnp.array(0.85), entmax=jnp.array(0.7))
    condensation = default.condensation.replace(trlsc=jnp.array(6.0), rhlsc=jnp.array(0.95))
    surface = default.surface_flux.replace(cdl=1.3 * default.surface_flux.cdl, cds=1.3 * default.surface_flux.cds)
    return default.replace(convection=convection, condensation=condensation, surface_flux=surface)


class NatureModel:
    """The model and its boundary forcing, advanced in 6-hour windows."""

    def __init__(self, start_time: np.datetime64, physics: Physics = "perfect") -> None:
        """Build the model; `start_time` (UTC) is the date of its state of rest, `physics` that of `parameters`."""
        coords = get_speedy_coords(layers=8, spectral_truncation=31)
        timescale = DIFFUSION_SECONDS if physics == "perfect" else IMPERFECT_DIFFUSION_SECONDS
        diffusion = DiffusionFilter(
            vor_q_timescale=timescale,
            vor_q_order=DEL8,
            temp_timescale=timescale,
            temp_order=DEL8,
            div_timescale=timescale,
            div_order=DEL8,
        )
        dycore = DinosaurDycore(
            coords=coords,
            terrain=boundary.terrain(coords),
            dt_seconds=TIME_STEP_SECONDS,
            diffusion=diffusion,
        )
        start = str(start_time.astype("datetime64[s]"))
        terms = speedy_physics(parameters(physics), checkpoint_terms=False) + RainGauge()
        self.model = Model(dycore, start_time=start, physics=terms)
        self.forcing: ForcingData = boundary.forcing(coords)

    @property
    def sigma(self) -> np.ndarray:
        """Sigma (pressure over surface pressure) of the full levels, top first."""
        return np.asarray(self.model.coords.vertical.centers, dtype=np.float64)

    def rest(self) -> Carry:
        """Return the state of rest, weighing what the real atmosphere weighs."""
        model = self.model
        horizontal = model.coords.horizontal
        state = model.initial_state()
        nodal = model.dycore.to_physics_state(state)
        pressure = np.asarray(nodal.normalized_surface_pressure) * 1e5
        weight = np.broadcast_to(np.cos(np.asarray(horizontal.latitudes)), pressure.shape)
        offset = np.log(MEAN_SURFACE_PRESSURE_PA / np.average(pressure, weights=weight))
        uniform = jnp.full((1, *horizontal.nodal_shape), offset, jnp.float32)
        log_pressure = state.log_surface_pressure + horizontal.to_modal(uniform)
        model.bootstrap_state(state.replace(log_surface_pressure=log_pressure))
        rest = model.run_state
        carry = Carry(rest.dynamics, rest.physics, rest.time, rest.step)
        # jcm's first clock is made of numpy int64, later ones of int32: one type, one compilation.
        same: Carry = jax.tree_util.tree_map(jnp.asarray, carry)
        return same

    @partial(jax.jit, static_argnums=(0, 2))
    def advance(self, carry: Carry, windows: int) -> tuple[Carry, dict[str, jax.Array]]:
        """Integrate `windows` windows of 6 h; return the end and the fields closing each window.

        The fields have a leading axis of windows, then (sigma level,) longitude and latitude on
        the Gaussian grid; see `_window` for names and units.
        """
        end: tuple[Carry, dict[str, jax.Array]] = jax.lax.scan(
            lambda c, _: self._window(c), carry, None, length=windows
        )
        return end

    def _window(self, carry: Carry) -> tuple[Carry, dict[str, jax.Array]]:
        """Integrate 6 h. Fields: m s-1, K, kg kg-1, m2 s-2, Pa; `rain` in m since the start."""
        gauge = jnp.zeros_like(carry.physics["rain_gauge"])
        end, _ = self.model.run_from_state_with_carry(
            carry.dynamics,
            self.forcing,
            save_interval="6 hours",
            total_time="6 hours",
            initial_physics_state={**carry.physics, "rain_gauge": gauge},
            initial_time=carry.time,
            initial_step=carry.step,
        )
        nodal = self.model.dycore.to_physics_state(end.dynamics)
        near_surface = end.physics["_surface_flux"]
        fields = {
            "u": nodal.u_wind,
            "v": nodal.v_wind,
            "temperature": nodal.temperature,
            "humidity": nodal.specific_humidity,
            "geopotential": nodal.geopotential,
            "surface_pressure": nodal.normalized_surface_pressure * 1e5,
            "t2m": near_surface.t0,
            "u10": near_surface.u0,
            "v10": near_surface.v0,
            "rain": end.physics["rain_gauge"] / MM_PER_M,
        }
        return Carry(end.dynamics, end.physics, end.time, end.step), fields
