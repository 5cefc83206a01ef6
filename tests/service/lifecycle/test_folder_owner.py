"""The owner of a folder: every folder and link on the way to it counts.

`tests/systemd` tries the rest with real users.
"""

import os
from pathlib import Path

import pytest

from poller.core.errors import FatalError
from poller.service.lifecycle.privileges import PathComponent, give_up_root, owner_of, way_to


def seen(file: Path) -> list[Path]:
    return [component.path for component in way_to(file)]


def component(path: str, uid: int) -> PathComponent:
    return PathComponent(
        path=Path(path), status=os.stat_result((0o40755, 0, 0, 2, uid, uid, 0, 0, 0, 0))
    )


def test_the_way_names_each_folder_and_each_link_and_not_the_file(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/../real")
    (real / "deep/ledger.db").touch()
    found = seen(tmp_path / "link/deep/ledger.db")
    assert found[0] == Path("/")
    assert found[-4:] == [tmp_path / "link", real, real, real / "deep"]


def test_the_way_ends_where_nothing_is_yet(tmp_path: Path) -> None:
    assert seen(tmp_path / "none/ledger.db")[-1] == tmp_path


def test_the_way_follows_a_link_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ledger.db").symlink_to(tmp_path / "elsewhere/real.db")
    assert seen(tmp_path / "ledger.db")[-1] == tmp_path / "elsewhere"


def test_the_way_ends_in_a_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert set(seen(tmp_path / "a/ledger.db")[-2:]) == {tmp_path / "a", tmp_path / "b"}


def test_the_owner_is_the_one_user_beside_root() -> None:
    assert owner_of((component("/", 0), component("/a", 0))) == 0
    assert owner_of((component("/", 0), component("/a", 7), component("/a/b", 0))) == 7
    with pytest.raises(FatalError, match="several users") as error:
        owner_of((component("/", 0), component("/a", 7), component("/a/b", 8)))
    assert "/a/b of user 8" in str(error.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_root_stays_root_in_a_folder_of_its_own(tmp_path: Path) -> None:
    give_up_root(tmp_path / "ledger.db")
    assert os.geteuid() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_root_opens_nothing_where_others_can_put_links(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(FatalError, match="other users can write"):
        give_up_root(folder / "ledger.db")
    (folder / "own").mkdir(mode=0o700)
    if mode & 0o1000:
        give_up_root(folder / "own/ledger.db")
    else:
        with pytest.raises(FatalError, match="other users can write"):
            give_up_root(folder / "own/ledger.db")
