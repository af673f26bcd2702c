"""Profiles: where they live, which setting wins, and that every mistake is named."""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmem_cli.errors import ProfileError, StoreError
from lightmem_cli.profiles import (
    delete_profile,
    home_folder,
    init_profile,
    list_profiles,
    open_profile,
    profile_folder,
    template_names,
)
from lightmem_cli.profiles.keys import read_key, read_keys, set_key
from lightmem_cli.profiles.settings import Settings

BROKEN = sorted((Path(__file__).parent / "broken_profiles").glob("*.toml"))
EXAMPLES = Path(__file__).parents[1] / "profiles"


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "profile.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_default_is_made_on_first_use_and_only_then(home: Path) -> None:
    first, second = open_profile(), open_profile()
    assert (first.name, first.created, second.created) == ("default", True, False)
    assert first.folder == home / "profiles" / "default"
    assert first.settings == second.settings == Settings()


def test_embedded_says_every_key_with_its_default() -> None:
    assert tomllib.loads((EXAMPLES / "embedded.toml").read_text()) == Settings().model_dump()


@pytest.mark.parametrize("name", template_names())
def test_every_example_profile_opens(name: str) -> None:
    assert init_profile("tried", template=name).folder.name == "tried"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_folders_and_files_are_the_owners_alone(home: Path) -> None:
    umask = os.umask(0)
    try:
        profile = open_profile()
    finally:
        os.umask(umask)
    set_key("default", "retrieve.limit", "7")
    for path in (home, home / "profiles", profile.folder):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert [path.name for path in profile.folder.iterdir()] == ["profile.toml"]
    assert stat.S_IMODE((profile.folder / "profile.toml").stat().st_mode) == 0o600


def test_flag_beats_environment_beats_profile_beats_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_profile().settings.retrieve.limit == 20
    set_key("default", "retrieve.limit", "30")
    assert open_profile().settings.retrieve.limit == 30
    monkeypatch.setenv("LIGHTMEM_RETRIEVE__LIMIT", "40")
    assert open_profile().settings.retrieve.limit == 40
    assert open_profile(overrides={"retrieve": {"limit": 50}}).settings.retrieve.limit == 50
    assert open_profile(overrides={"retrieve": {"limit": None}}).settings.retrieve.limit == 40
    monkeypatch.setenv("LIGHTMEM_RETRIEVE__LIMIT", "")
    assert open_profile().settings.retrieve.limit == 30


def test_home_is_flag_then_environment_then_the_users_data(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home_folder(tmp_path / "flag") == tmp_path / "flag"
    assert home_folder() == home
    monkeypatch.setenv("LIGHTMEM_HOME", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert home_folder() == tmp_path / "xdg" / "lightmem"


def test_the_environment_names_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    init_profile("work")
    monkeypatch.setenv("LIGHTMEM_PROFILE", "work")
    assert open_profile().name == "work"
    assert open_profile("default").name == "default"


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_mistakes_in_a_profile_are_named(path: Path, home: Path) -> None:
    text = path.read_text(encoding="utf-8")
    written = write(home / "profiles" / "default", text)
    with pytest.raises(ProfileError) as caught:
        open_profile()
    expected = text.splitlines()[0].removeprefix("# ")
    assert caught.value.message.startswith(f"{written}{expected}")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert "0123456789abcdef" not in f"{caught.value.message} {caught.value.hint}"  # what may be a key


def test_a_profile_that_is_not_text_is_refused(home: Path) -> None:
    path = write(home / "profiles" / "default", "")
    path.write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(ProfileError, match=r"not UTF-8 text \(byte 14\)"):
        open_profile()


def test_a_byte_order_mark_and_an_empty_file_are_allowed(home: Path) -> None:
    write(home / "profiles" / "default", "\ufeff[retrieve]\nlimit = 9\n")
    assert open_profile().settings.retrieve.limit == 9
    write(home / "profiles" / "default", "")
    assert open_profile().settings == Settings()


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("LIGHTMEM_EMBED__UZE", "x", 'LIGHTMEM_EMBED__UZE: unknown key "uze" in [embed]; did you mean "use"?'),
        ("LIGHTMEM_EMBD__USE", "x", 'LIGHTMEM_EMBD__USE: unknown table [embd]; did you mean "embed"?'),
        ("LIGHTMEM_RETRIEVE__LIMIT", "many", 'LIGHTMEM_RETRIEVE__LIMIT: retrieve.limit is "many"'),
        ("LIGHTMEM_EMBED__DEVICE", "gpu", 'LIGHTMEM_EMBED__DEVICE: embed.device is "gpu"'),
    ],
)
def test_mistakes_in_the_environment_are_named(
    variable: str, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ProfileError) as caught:
        open_profile()
    assert caught.value.message.startswith(message)


def test_a_typed_flag_hides_the_environments_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_RETRIEVE__LIMIT", "many")
    assert open_profile(overrides={"retrieve": {"limit": 3}}).settings.retrieve.limit == 3
    with pytest.raises(ProfileError, match=r"command line: retrieve\.limit is 0"):
        open_profile(overrides={"retrieve": {"limit": 0}})


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a\\b",
        "/etc",
        "~",
        ".hidden",
        "-p",
        "nul",
        "COM1",
        "con.txt",
        "a\0b",
        "a b",
        "a.",
    ],
)
def test_names_that_would_leave_the_home_are_refused(name: str, home: Path) -> None:
    with pytest.raises(ProfileError, match="cannot name a profile"):
        profile_folder(name)
    assert not home.exists()


@pytest.mark.parametrize("name", ["x" * 65, "日" * 64 + "本", "a:b", "a\n"])
def test_names_that_some_file_system_refuses_are_refused_everywhere(name: str) -> None:
    with pytest.raises(ProfileError, match="cannot name a profile"):
        profile_folder(name)


@given(st.text(max_size=80))
def test_a_profile_is_always_a_child_of_the_home(name: str) -> None:
    profiles = Path("/home-of/profiles")
    try:
        folder = profile_folder(name, home=Path("/home-of"))
    except ProfileError:
        return
    assert folder.parent == profiles
    assert Path(os.path.normpath(folder)).parent == profiles


def test_an_unknown_profile_is_refused_with_the_nearest_name() -> None:
    init_profile("journal")
    with pytest.raises(ProfileError, match="did you mean 'journal'") as caught:
        open_profile("jurnal")
    assert caught.value.hint == "lightmem init jurnal"
    assert caught.value.exit_code == 2
    assert list_profiles() == ["journal"]


def test_init_refuses_what_exists_and_takes_another_profile_as_template(tmp_path: Path) -> None:
    init_profile("work")
    with pytest.raises(ProfileError, match="already exists"):
        init_profile("work")
    with pytest.raises(ProfileError, match=r"no example profile 'nowhere': there is .*embedded"):
        init_profile("other", template="nowhere")
    template = write(tmp_path, "[retrieve]\nlimit = 4\n")
    assert init_profile("copy", template=str(template)).settings.retrieve.limit == 4
    with pytest.raises(ProfileError, match="unknown table"):
        init_profile("bad", template=str(write(tmp_path, "[nothing]\n")))
    assert list_profiles() == ["copy", "work"]


def test_init_gives_settings_back_to_a_memory_that_lost_them(home: Path) -> None:
    folder = home / "profiles" / "old"
    folder.mkdir(parents=True)
    (folder / "history.db").write_bytes(b"precious")
    with pytest.raises(ProfileError, match="no profile 'old'"):
        open_profile("old")
    init_profile("old")
    assert (folder / "history.db").read_bytes() == b"precious"


def test_delete_removes_one_profile_whole(home: Path) -> None:
    init_profile("keep")
    doomed = init_profile("doomed")
    (doomed.folder / "vectors").mkdir()
    (doomed.folder / "vectors" / "index").write_bytes(b"x")
    assert delete_profile("doomed") == doomed.folder
    assert [path.name for path in (home / "profiles").iterdir()] == ["keep"]
    with pytest.raises(ProfileError):
        delete_profile("doomed")


def test_a_broken_profile_can_still_be_listed_and_deleted(home: Path) -> None:
    write(home / "profiles" / "broken", "= = =")
    assert list_profiles() == ["broken"]
    delete_profile("broken")
    assert list_profiles() == []


def test_a_linked_profile_is_unlinked_not_emptied(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "")
    (home / "profiles").mkdir(parents=True)
    (home / "profiles" / "linked").symlink_to(tmp_path / "elsewhere")
    delete_profile("linked")
    assert (tmp_path / "elsewhere" / "profile.toml").exists()


def test_setting_a_key_keeps_comments_and_everything_else() -> None:
    path = open_profile().folder / "profile.toml"
    before = path.read_text().splitlines()
    assert set_key("default", "retrieve.limit", "60") == 60
    after = path.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("limit = 20                # how many hits, at most", "limit = 60                # how many hits, at most")
    ]


def test_a_list_is_set_with_commas_and_stays_on_its_line() -> None:
    path = open_profile().folder / "profile.toml"
    before = path.read_text().splitlines()
    assert set_key("default", "compress.keep", "names") == ["names"]
    assert set_key("default", "compress.keep", "digits, dates") == ["digits", "dates"]
    [(_, now)] = [both for both in zip(before, path.read_text().splitlines(), strict=True) if both[0] != both[1]]
    assert now == 'keep = ["digits", "dates"]  # what always stays'
    assert open_profile().settings.compress.keep == ["digits", "dates"]
    assert set_key("default", "compress.keep", "none") == open_profile().settings.compress.keep == []
    with pytest.raises(ProfileError, match=r'compress.keep.1 is "places"'):
        set_key("default", "compress.keep", "names,places")


def test_a_list_in_the_environment_has_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMEM_COMPRESS__KEEP", "urls,code")
    assert open_profile().settings.compress.keep == ["urls", "code"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[retrieve]\n",
        "[store]\nwords = 'fts5' # [retrieve]\n",
        "retrieve = { strategy = 'words' }\n",
        "retrieve.limit = 3\n",
        "[ retrieve ] # here\nlimit=3",
        '["retrieve"]\n"limit" = 3\n',
        "[retrieve]\n\n# limit = 4\nstrategy = 'words'\n[store]\nlanguage = 'german'\n",
    ],
)
def test_setting_a_key_works_however_the_file_is_written(text: str, home: Path) -> None:
    path = write(home / "profiles" / "default", text)
    wanted = tomllib.loads(text)
    wanted.setdefault("retrieve", {})["limit"] = 60
    set_key("default", "retrieve.limit", "60")
    assert tomllib.loads(path.read_text()) == wanted


@given(st.sampled_from(["embed.model"]), st.text(min_size=1, max_size=40))
def test_any_text_survives_being_set(key: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    open_profile()
    assert set_key("default", key, text) == text
    assert read_key(open_profile(), key) == text


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("limit", "3", 'keys are written TABLE.KEY; did you mean "retrieve.limit"?'),
        ("retrieve.limt", "3", 'unknown key "limt" in [retrieve]; did you mean "limit"?'),
        ("retrive.limit", "3", 'unknown table [retrive]; did you mean "retrieve"?'),
        ("retrieve.limit", "no", 'retrieve.limit is "no"'),
        ("version", "2", "keys are written TABLE.KEY"),
        ("llm.api_key", "sk-1", "llm.api_key is not written to a profile"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(key: str, value: str, message: str) -> None:
    path = open_profile().folder / "profile.toml"
    before = path.read_bytes()
    with pytest.raises(ProfileError) as caught:
        set_key("default", key, value)
    assert message in caught.value.message
    assert path.read_bytes() == before


def test_keys_are_read_one_by_table_or_all() -> None:
    profile = open_profile()
    assert read_keys(profile, "retrieve.limit") == {"retrieve.limit": 20}
    assert read_keys(profile, "retrieve") == {"retrieve.strategy": "hybrid", "retrieve.limit": 20}
    assert len(read_keys(profile)) == sum(len(table) for table in Settings().model_dump(exclude={"version"}).values())


def test_a_home_that_cannot_be_used_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file") as caught:
        open_profile(home=tmp_path / "file")
    assert caught.value.hint
    with pytest.raises(StoreError):
        open_profile(home=Path("/proc/lightmem"))
