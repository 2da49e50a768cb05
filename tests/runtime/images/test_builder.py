"""Builds, real ones: what is in a layer, what is not, and what is built again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle import Image, Secret
from rekindle.blobs.store import open_store
from rekindle.exception import ImageBuildError, ImageError
from rekindle.runtime.images import sharing, tools
from rekindle.runtime.images.builder import ensure, missing
from rekindle.runtime.images.store import LayerStore
from rekindle.sdk.images import builds
from rekindle.wire.images import names
from tests.blobs.machine import needs_erofs
from tests.images import BUILDS, base, kept, own_base, wheel
from tests.runtime.images.builds import Said, build, files_of

pytestmark = BUILDS


def test_steps_see_what_was_built_before_and_leave_just_what_they_made(
    store: LayerStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("of a file")
    (source / "sub" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "sub" / "run.sh").chmod(0o755)
    package = wheel(tmp_path / "wheels", "demo_package", "1.5")
    image = (
        base()
        .env({"GREETING": "hello"})
        .workdir("/work")
        .add_local_dir(source, "/bin/added", copy=True)  # /bin is a link in the image
        .add_local_file(package, "/wheels/", copy=True)
        .pip_install(f"/wheels/{package.name}", extra_options="--no-index --no-deps")
        .run_commands(
            "echo $GREETING > said; cat /bin/added/a.txt >> said",
            "/usr/bin/added/sub/run.sh >> said",
            "python -c 'import demo_package; print(demo_package.VERSION)' >> said",
            "touch /tmp/left /run/left; rm -r /wheels",
        )
        .add_local_file(source / "a.txt", "/shown.txt")
    )
    built, said = build(image, store)
    assert (built.workdir, built.python, built.python_version) == (
        "/work",
        "/usr/bin/python3",
        "3.13",
    )
    assert dict(built.env)["GREETING"] == "hello"
    assert [target for _, target in built.mounts] == ["/shown.txt"]
    assert built.mounts[0][0].read_text() == "of a file"
    ran, installed, *_ = built.lowers
    assert (ran / "work/said").read_text() == "hello\nof a fileran\n1.5\n"
    assert files_of(ran) - {"work/said"} == {"wheels"}  # a whiteout
    assert os.major((ran / "wheels").lstat().st_rdev) == 0
    assert "usr/local/lib/python3.13/dist-packages/demo_package.py" in files_of(installed)
    assert all(path.startswith("usr/local/lib") for path in files_of(installed))
    assert "Successfully installed demo-package-1.5" in said.lines
    # Again, nothing is built, nor is anything left.
    again, silent = build(image, store)
    assert again == built and not silent.began
    assert not missing(image.spec(), store)
    assert not list((store.root / "drafts").iterdir())


def test_a_debian_base_and_what_is_installed_in_it_have_no_manuals_but_say_whose_they_are() -> None:
    root = kept(base()) / "root"
    share = root / "usr" / "share"

    def files(place: str) -> list[Path]:
        found = share.glob(f"{place}/**/*")  # dpkg keeps links
        return [one for one in found if one.is_file() and not one.is_symlink()]

    assert not [one for name in ("man", "locale", "lintian") for one in files(name)]
    assert {one.name for one in files("doc")} == {"copyright"}
    assert {"dpkg", "python3-pip"} <= {one.parent.name for one in files("doc")}
    options = [one.read_text() for one in (root / "etc" / "dpkg" / "dpkg.cfg.d").iterdir()]
    assert "path-exclude=/usr/share/man/*\n" in "".join(options)


def test_a_changed_step_builds_itself_and_what_stands_on_it(store: LayerStore) -> None:
    def chain(third: str) -> Image:
        image = base().run_commands("echo 1 > /1").run_commands("echo 2 > /2")
        return image.run_commands(third).run_commands("cat /1 /2 /3 > /4")

    first, said = build(chain("echo 3 > /3"), store)
    assert len(said.began) == 4
    second, said = build(chain("echo three > /3"), store)
    assert said.began == ["run_commands('echo three > /3')", "run_commands('cat /1 /2 /3 > /4')"]
    assert first.lowers[2:] == second.lowers[2:] and first.name != second.name
    assert (second.lowers[0] / "4").read_text() == "1\n2\nthree\n"
    back, said = build(chain("echo 3 > /3"), store)
    assert back == first and not said.began


def test_a_step_that_is_forced_is_built_anew_with_all_above_it(store: LayerStore) -> None:
    def chain(*, force: bool) -> Image:
        image = base().run_commands("head -c 8 /dev/urandom > /1", force_build=force)
        return image.run_commands("cp /1 /2")

    first, _ = build(chain(force=False), store)
    before = (first.lowers[0] / "2").read_bytes()
    second, said = build(chain(force=True), store)
    assert len(said.began) == 2
    assert first.lowers == second.lowers and first.name != second.name
    assert (second.lowers[0] / "2").read_bytes() == (second.lowers[1] / "1").read_bytes() != before
    assert build(chain(force=False), store)[0] == second


def test_a_step_that_fails_says_what_it_printed_and_leaves_no_layer(store: LayerStore) -> None:
    image = base().run_commands("echo made > /made", "echo it was this >&2; exit 3", "echo never")
    with pytest.raises(ImageBuildError) as caught:
        build(image, store)
    text = str(caught.value)
    assert "exit status 3" in text and "    it was this" in text and "$ echo never" not in text
    assert store.get(caught.value.layer) is None
    assert "it was this" in store.log(caught.value.layer).read_text()
    assert not list((store.root / "drafts").iterdir())


def test_a_working_directory_that_is_a_file_is_refused_where_it_is_declared(
    store: LayerStore,
) -> None:
    made = base().run_commands("mkdir /folder && touch /folder/file && ln -s /folder /link")
    for wrong in ("/folder/file", "/folder/file/below", "/link/file"):
        image = made.workdir(wrong).run_commands("echo > /never")
        with pytest.raises(ImageError, match=f"workdir.'{wrong}'.*: {wrong}, or .* is a file of"):
            build(image, store)
        with pytest.raises(ImageError, match="is a file of the image"):
            # Nothing is to be built for it, and it is refused all the same.
            builds.built(made.workdir(wrong), lambda: Path("/none"))
    for right in ("/folder", "/link/made", "/folder/made"):
        assert build(made.workdir(right), store)[0].workdir == right
    with pytest.raises(ImageError, match="shows a file at /srv, which is the working directory"):
        build(made.workdir("/srv").add_local_file(__file__, "/srv"), store)


def test_what_cannot_be_copied_to_its_place_is_refused_before_anything_is_built(
    store: LayerStore, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    below = base().run_commands("mkdir -p /srv/there && touch /srv/file && ln -s srv /link")
    build(below, store)
    for wrong in (
        below.add_local_file(__file__, "/srv/there", copy=True),
        below.add_local_file(__file__, "/link", copy=True),
        below.add_local_dir(tmp_path / "folder", "/srv/file", copy=True),
        below.add_local_dir(tmp_path / "folder", "/link/file/below", copy=True),
    ):
        said = Said()
        with pytest.raises(ImageError, match=r"of the image, and a (file|folder) is to be put"):
            ensure(wrong.spec(), store=store, watch=said)
        assert not said.began
    for right in (
        below.add_local_file(__file__, "/srv/there/", copy=True),
        below.add_local_dir(tmp_path / "folder", "/srv/there", copy=True),
    ):
        build(right, store)


def test_a_step_that_does_not_end_is_ended(store: LayerStore) -> None:
    with pytest.raises(ImageBuildError, match="did not end within 1 s"):
        build(base().run_commands("echo begun; sleep 1000", timeout=1), store)


def test_commands_cannot_reach_the_machine(store: LayerStore, tmp_path: Path) -> None:
    (tmp_path / "of_the_machine").touch()
    built, _ = build(
        base().run_commands(
            f"ls {tmp_path} 2>&1 | tail -c 26 > /seen",
            "mknod /disk b 254 0 && head -c 1 /disk 2>&1 | tail -c 18 >> /seen; rm -f /disk",
            "echo 1 > /proc/sys/kernel/sysrq || echo read-only >> /seen",
            "python -c 'import os; print(os.getpid() < 100)' >> /seen",
            "echo $REKINDLE_HOME$REKINDLE_IMAGES >> /seen",
        ),
        store,
    )
    lines = (built.lowers[0] / "seen").read_text().splitlines()
    assert lines[0] == "No such file or directory"
    assert lines[1:] == ["Permission denied", "read-only", "True", ""]


def test_secrets_reach_the_step_and_are_in_no_log_layer_or_record(store: LayerStore) -> None:
    secret = Secret.from_dict({"TOKEN": "a-long-value"})
    image = base().run_commands("echo token $TOKEN; printf $TOKEN | wc -c > /n", secrets=[secret])
    built, said = build(image, store)
    assert (built.lowers[0] / "n").read_text() == "12\n"
    assert "token <TOKEN>" in said.lines
    for place in (store.root / "layers", store.root / "logs"):
        for file in place.rglob("*"):
            if file.is_file() and not file.is_symlink():
                assert b"a-long-value" not in file.read_bytes(), file
    without = base().run_commands("echo other $TOKEN", secrets=[secret])
    with pytest.raises(ImageError, match="rekindle image build"):
        ensure(without.spec(), store=store)


def test_lines_of_a_dockerfile_know_what_the_image_below_them_sets(
    store: LayerStore, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("data")
    below = base().env({"BASE": "/srv/of-base", "OTHER": "other"}).workdir("/work")
    image = below.dockerfile_commands(
        "COPY data .",
        "COPY data /etc",  # a folder of the image
        "ENV PATH=/opt/x/bin:$PATH SAID='$BASE' NONE=<$NOBODY> ELSE=${NOBODY:-else}",
        "WORKDIR $BASE",
        "WORKDIR below",
        "COPY data more/",
        "ENV BASE=$OTHER AGAIN=$BASE",
        "RUN pwd > said",
        context_dir=tmp_path,
    )
    built, _ = build(image, store)
    env = dict(built.env)
    assert env["PATH"] == "/opt/x/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert (env["SAID"], env["NONE"], env["ELSE"]) == ("$BASE", "<>", "else")
    assert (env["BASE"], env["AGAIN"]) == ("other", "/srv/of-base")
    assert built.workdir == "/srv/of-base/below"
    ran, more, etc, work, *_ = built.lowers
    assert (ran / "srv/of-base/below/said").read_text() == "/srv/of-base/below\n"
    assert (more / "srv/of-base/below/more/data").read_text() == "data"
    assert files_of(etc) == {"etc/data"} and files_of(work) == {"work/data"}


def test_holes_of_local_files_take_no_disk_in_a_layer(store: LayerStore, tmp_path: Path) -> None:
    source = tmp_path / "given"
    source.mkdir()
    with open(source / "large", "wb") as file:
        file.truncate(1 << 28)
        file.write(b"data")
    built, _ = build(base().add_local_dir(source, "/given", copy=True), store)
    copied = built.lowers[0] / "given" / "large"
    assert copied.stat().st_size == 1 << 28 and copied.stat().st_blocks * 512 < 1 << 20
    (layer,) = (one for one in store.all() if one.title.startswith("add_local_dir"))
    assert layer.size_bytes < 1 << 20


@needs_erofs
def test_a_step_is_built_on_a_layer_that_is_built_where_the_store_has_it_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_store((tmp_path / "store").as_uri())
    below = base().run_commands("echo below > /below")
    first, second = (own_base(tmp_path / name) for name in ("first", "second"))
    build(below, first)
    name = list(names(below.spec().steps))[-1]
    for one in names(below.spec().steps):
        assert sharing.push(blobs, first, one, tmp_path / "scratch")
    ref = blobs.ref(sharing.KIND, name)
    assert ref is not None
    (tmp_path / "store" / "blobs" / ref.blobs[0][:2] / ref.blobs[0]).unlink()
    monkeypatch.setenv("REKINDLE_STORE_URL", blobs.url)
    built, said = build(below.run_commands("cat /below > /above"), second)
    assert (built.lowers[0] / "above").read_text() == "below\n"
    assert any(
        f"layer {name[:12]}" in line and "there is no blob" in line for line in said.lines
    ), said.lines
    layer = second.get(name)
    assert layer is not None and layer.packing == ""


def test_no_line_of_a_secret_of_several_lines_is_printed(store: LayerStore) -> None:
    """A key, for example: what is printed is looked at line by line."""
    secret = Secret.from_dict({"KEY": "first-abcdef\n  second-ghijkl \nend\n", "PART": "abcdef"})
    step = base().run_commands(
        'echo "$KEY" "$PART"; echo "$KEY" | tr -d "\\n"; exit 4', secrets=[secret]
    )
    with pytest.raises(ImageBuildError) as caught:
        build(step, store)
    log = store.log(caught.value.layer).read_text()
    for text in (str(caught.value), log):
        assert "<KEY>" in text and "<PART>" in text
        assert "abcdef" not in text and "ghijkl" not in text


def test_commands_have_terminals_of_their_own(store: LayerStore) -> None:
    """apt writes its log through one."""
    built, _ = build(
        base().run_commands(
            "python -c 'import os; print(os.ttyname(os.openpty()[1]))' > /terminal",
            "ls /dev/pts | wc -l >> /terminal",
        ),
        store,
    )
    assert (built.lowers[0] / "terminal").read_text() == "/dev/pts/0\n1\n"


def test_a_program_that_is_missing_is_named(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageBuildError, match=r"needs micromamba, which is not on.*curl -Ls"):
        build(Image.micromamba("3.13"), store)
    for name in ("skopeo", "umoci"):
        assert not tools.has(tmp_path, name)
        with pytest.raises(ImageError, match=f"needs {name}.*rekindle setup images"):
            tools.find_oci(tmp_path, name)


def test_a_python_that_uv_cannot_get_says_how_to_get_it(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody serves there, and none was fetched before.
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    said = r"uv has none on this node and could not fetch one; run `uv python install 3\.12`"
    with pytest.raises(ImageBuildError, match=said):
        build(Image.debian_slim("3.12"), store)


def test_a_uv_that_pip_cannot_get_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for variable in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ImageError, match=r"needs uv.*pip could not get it: .*install uv where"):
        tools.find(*("uv", tmp_path, lambda _line: None))
    assert not tools.prefix(tmp_path, "uv").exists()


def test_a_step_has_the_uv_that_it_asks_for(
    store: LayerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.prefix(store.root, "").unlink()  # those that are kept for other tests
    own = tmp_path / "bin" / "uv"
    own.parent.mkdir()
    for version in ("1.0", "2.0"):
        says = f"echo uv {version} $*"
        wheel(tmp_path / "wheels", "uv", version, program=says)
        if version == "1.0":
            own.write_text(f"#!/bin/sh\n{says}\n")
            own.chmod(0o755)
    monkeypatch.setenv("PATH", f"{own.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    layers = set()
    for asked, used in ((None, "1.0"), ("1.0", "1.0"), ("2.0", "2.0")):
        built, said = build(base().uv_pip_install("six", uv_version=asked), store)
        layers.add(built.lowers[0])
        assert f"uv {used} pip install six" in said.lines
    assert len(layers) == 3
    assert not tools.prefix(store.root, "uv==1.0").exists()  # the node has it
    assert tools.prefix(store.root, "uv==2.0").exists()
    with pytest.raises(ImageBuildError, match=r"needs uv==3\.0.*pip could not get it"):
        build(base().uv_pip_install("six", uv_version="3.0"), store)


def test_the_host_image_is_no_image(store: LayerStore) -> None:
    assert ensure(Image.host().env({"A": "b"}).spec(), store=store) is None


def test_variables_and_local_files_name_an_image_and_build_nothing(
    store: LayerStore, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    plain = build(base(), store)[0]
    with_variable = build(base().env({"A": "b"}), store)[0]
    shown = build(base().add_local_file(file, "/file"), store)[0]
    file.write_text("2")
    edited = build(base().add_local_file(file, "/file"), store)[0]
    assert len({one.name for one in (plain, with_variable, shown, edited)}) == 4
    assert plain.lowers == with_variable.lowers == shown.lowers == edited.lowers


def test_a_program_that_a_later_step_lacks_is_said_before_the_base_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = Said()
    with pytest.raises(ImageError, match="needs micromamba, which is not on PATH"):
        ensure(Image.micromamba("3.13").spec(), store=LayerStore(tmp_path / "images"), watch=said)
    assert said.lines == []
