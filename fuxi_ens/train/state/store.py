"""The states of a run: the newest few and the best one, each whole or skipped."""

import logging
import math
import shutil
import uuid
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fuxi_ens.errors import UserError
from fuxi_ens.files import sync_folder
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.state.load import load_tensors
from fuxi_ens.train.state.manifest import Counters, DamagedState, Manifest, Position, positions_in
from fuxi_ens.train.state.save import HostMemory, Part, Save, in_background

_FAILURES_IN_A_ROW = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedState:
    """A whole state."""

    folder: Path
    position: Position
    counters: dict[str, int | float | str | None]
    score: float | None
    """Validation score at this position, lower is better; None if there was none."""
    world: int
    """Ranks that wrote it."""


class StateStore:
    """States in a folder that all ranks see. What is called collective, all ranks call in the same order.

    A save that fails, on a full disk for instance, costs that state and a warning; the second in a row ends the run.
    """

    def __init__(self, folder: Path, identity: str, keep: int, ranks: Ranks) -> None:
        """States of settings with the hash `identity`, the newest `keep` of them."""
        self._folder, self._identity, self._keep, self._ranks = folder, identity, keep, ranks
        self._pending: tuple[Manifest, Save] | None = None
        self._memory = HostMemory()
        self._clearing: Future[None] | None = None
        self._failures = 0
        self.last: Position | None = None
        """Position of the newest state that is known to be whole; the same on all ranks."""

    def newest(self) -> SavedState | None:
        """Newest whole state, None if there is no state. Damaged ones are skipped with a warning. Collective.

        Raises UserError when the state belongs to other settings or another version, or when no state is whole.
        """
        positions = self._ranks.from_main(positions_in(self._folder) if self._ranks.main else [])
        saved = self._first_whole(positions)
        if positions and saved is None:
            raise UserError(f"every state in {self._folder} is damaged; delete that folder to start anew")
        self.last = saved.position if saved else None
        return saved

    def best(self) -> SavedState | None:
        """Whole state with the lowest score of the latest stage that has scores, None if none has. Collective.

        Raises UserError when it belongs to other settings or another version.
        """
        return self._first_whole(self._ranks.from_main(self._by_score() if self._ranks.main else []))

    def load(self, saved: SavedState, tensors: dict[str, Any]) -> None:
        """Fill nested dicts of tensors and plain values, in place; any number of ranks will do. Collective."""
        load_tensors(saved.folder, tensors, self._ranks)

    def begin(self, position: Position, tensors: dict[str, Any], counters: Counters, score: float | None) -> None:
        """Copy `tensors` and write them in the background, after the save before is settled. Collective.

        Nested dicts of tensors and plain values: those of torch.distributed.checkpoint.state_dict, or the like. They
        may change once this returns. Raises UserError like `settle`.
        """
        self.settle(wait=True)
        if self._ranks.main:
            self._clear()
        manifest = Manifest(self._identity, position, self._ranks.place.world, dict(counters), score, {})
        self._pending = manifest, Save(self._partial(position), tensors, self._ranks, self._memory)

    def settle(self, *, wait: bool) -> None:
        """Make a state of the save under way, or report that it failed; nothing to do without one. Collective.

        With `wait` it waits for all ranks; without, call it when `ready` is known to be true on all of them. Raises
        UserError when two saves in a row failed.
        """
        if self._pending is None:
            return
        assert wait or self.ready()
        (manifest, save), self._pending = self._pending, None
        parts = self._ranks.gather(save.part())
        whole = [part for part in parts if isinstance(part, Part)]
        errors = [f"{part} (rank {rank})" for rank, part in enumerate(parts) if not isinstance(part, Part)]
        if not errors:
            error = self._ranks.from_main(self._publish(manifest, save, whole) if self._ranks.main else None)
            errors = [error] if error else []
        if errors:
            self._failed(manifest.position, "; ".join(errors))
        else:
            self._failures, self.last = 0, manifest.position

    @property
    def pending(self) -> bool:
        """Whether a save is under way; the same on all ranks."""
        return self._pending is not None

    def ready(self) -> bool:
        """Whether this rank has nothing left to write: its part is on disk, has failed, or was never asked for."""
        return self._pending is None or self._pending[1].done

    def _partial(self, position: Position) -> Path:
        return self._folder / f".{position.folder_name}.partial"

    def _first_whole(self, positions: list[Position]) -> SavedState | None:
        for position in positions:
            folder = self._folder / position.folder_name
            try:
                manifest = self._whole(folder)
            except DamagedState as reason:
                if self._ranks.main:
                    log.warning("%s is damaged (%s); skipping it for another state", folder, reason)
                continue
            return SavedState(folder, position, manifest.counters, manifest.score, manifest.world)
        return None

    def _whole(self, folder: Path) -> Manifest:
        """Manifest of a state whose files are as they were written; ranks share the work of reading them."""
        manifest = self._ranks.from_main(_tried(folder) if self._ranks.main else None)
        if not isinstance(manifest, Manifest):
            assert manifest is not None
            raise manifest
        if manifest.identity != self._identity:
            raise UserError(
                f"{self._folder} holds the state of a run with other settings; resume with the same config, "
                "choose another run.folder, or delete that folder"
            )
        place = self._ranks.place
        mine = sorted(manifest.files)[place.rank :: place.world]
        found = self._ranks.gather([manifest.files[name].difference(folder / name) for name in mine])
        reasons = [reason for reasons in found for reason in reasons if reason]
        if reasons:
            raise DamagedState("; ".join(reasons))
        return manifest

    def _publish(self, manifest: Manifest, save: Save, parts: list[Part]) -> str | None:
        """Give the files of all ranks a manifest and their name, then tidy. Returns the reason if that failed."""
        partial, folder = self._partial(manifest.position), self._folder / manifest.position.folder_name
        try:
            replace(manifest, files=save.finish(parts)).write(partial)
            # A damaged one that was skipped, or the same one from before a stop.
            doomed = [_put_aside(folder)] if folder.exists() else []
            partial.replace(folder)
            sync_folder(self._folder)
        except OSError as error:
            return str(error)
        self._tidy(manifest.position, doomed)
        return None

    def _failed(self, position: Position, reason: str) -> None:
        """Warn, make room, and stop the run if the save before failed too."""
        self._failures += 1
        kept = f"the newest is {self.last.folder_name}" if self.last else "there is none yet"
        if self._ranks.main:
            log.warning("%s could not be saved: %s; of the states %s", position.folder_name, reason, kept)
            self._clear()
        if self._failures == _FAILURES_IN_A_ROW:
            raise UserError(
                f"{self._failures} states in a row could not be saved in {self._folder}, the last because of {reason}; "
                f"of the states {kept}; make room or mend the disk, then resume"
            )

    def _tidy(self, newest: Position, doomed: list[Path]) -> None:
        """Delete what is neither among the newest nor the best, and later states: only damaged ones are skipped."""
        positions = positions_in(self._folder)
        passed = [position for position in positions if position <= newest]
        kept = {*passed[: self._keep], *self._by_score(newest)[:1]}
        try:
            doomed += [_put_aside(self._folder / p.folder_name) for p in positions if p not in kept]
        except OSError as error:
            log.warning("an old state could not be put aside: %s", error)
        # In the background: many GB take their time, and rank 0 would keep all others waiting.
        self._clearing = in_background(_delete, doomed)

    def _clear(self) -> None:
        """Delete unfinished saves, and what was put aside by a run that was killed."""
        if self._clearing is not None:
            self._clearing.result()
        _delete(list(self._folder.glob(".state_*.partial")))

    def _by_score(self, newest: Position | None = None) -> list[Position]:
        """States of the latest stage that has scores, lowest first, of those not after `newest`."""
        found = [position for position in positions_in(self._folder) if newest is None or position <= newest]
        manifests = [_tried(self._folder / position.folder_name) for position in found]
        whole = [manifest for manifest in manifests if isinstance(manifest, Manifest)]
        scored = [(m.score, m.position) for m in whole if m.score is not None and math.isfinite(m.score)]
        # A score says nothing of other stages: they have other objectives.
        latest = max((position.stage for _, position in scored), default=None)
        return [position for _, position in sorted(scored) if position.stage == latest]


def _tried(folder: Path) -> Manifest | DamagedState | UserError:
    """The manifest of a state, or why there is none, to be raised by all ranks."""
    try:
        return Manifest.read(folder)
    except (DamagedState, UserError) as error:
        return error


def _put_aside(folder: Path) -> Path:
    """Rename a state that is to be deleted: killed on the way, that leaves a leftover and no half a state."""
    return folder.replace(folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial"))


def _delete(folders: list[Path]) -> None:
    """Delete them; training goes on if that fails."""
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except OSError as error:
            log.warning("%s could not be deleted: %s", folder, error)
