"""Files shipped inside the package: the nature-run sample, coastlines. Never downloaded, never written to."""

from importlib import resources
from pathlib import Path

from fuxi_ens.errors import StoreError

PREFIX = "asset:"


def resolve(store: str) -> str:
    """Turn `asset:NAME` into the path of the packaged file; every other path or URL passes unchanged."""
    if not store.startswith(PREFIX):
        return store
    path = Path(str(resources.files(__name__))) / store.removeprefix(PREFIX)
    if not path.exists():
        raise StoreError(f"{store} is not shipped with this package; looked in {path.parent}")
    return str(path)


def config_file(name: str) -> Path:
    """Path of a run file that comes with the project: beside an installed package, or in the checkout's configs/."""
    installed = Path(str(resources.files(__name__))) / "configs" / f"{name}.yaml"
    checkout = Path(__file__).parents[2] / "configs" / f"{name}.yaml"
    for path in (installed, checkout):
        if path.exists():
            return path
    raise StoreError(f"no configuration {name!r}; looked for {installed} and {checkout}")
