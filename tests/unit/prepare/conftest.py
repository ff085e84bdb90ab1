import pytest
from prepare_world import make_source, run, with_source


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture
def folder(source, tmp_path):
    return with_source(tmp_path, source)


@pytest.fixture(scope="session")
def prepared(source, tmp_path_factory):
    """A folder with the source and the finished store."""
    folder = with_source(tmp_path_factory.mktemp("prepared"), source)
    run(folder)
    return folder
