"""Roots: layers with something of one's own on top, and what programs expect to be there."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from rekindle.blobs import erofs
from rekindle.exception import StartError
from rekindle.runtime.agent.starts.roots import Root, RootSource
from rekindle.runtime.images.root import RootRequest, Shown
from rekindle.runtime.images.root_client import RootClient
from rekindle.runtime.isolation.spawner_client import Spawner
from rekindle.wire.images import OURS
from tests.blobs.machine import needs_erofs, needs_fuse
from tests.hung import hung

Scenario = Callable[[Spawner, RootClient], Awaitable[None]]


def with_maker(tmp_path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        (tmp_path / "scratch").mkdir()
        spawner = await Spawner.start(tmp_path / "kdat")
        client = RootClient(await spawner.start_root_maker(tmp_path / "scratch"))
        try:
            await scenario(spawner, client)
        finally:
            client.close()
            await spawner.stop()

    asyncio.run(main())


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    """Two layers, the topmost first: a shell that runs on its own, and files."""
    base, top = tmp_path / "layers" / "l-0123ab" / "root", tmp_path / "layers" / "l-0123cd" / "root"
    for path in ("bin", "etc", "usr", "lib", "lib64", "sbin"):
        (base / path).mkdir(parents=True)
    (base / "etc" / "below").write_text("below")
    (base / "etc" / "both").write_text("below")
    (base / "var").symlink_to("elsewhere")
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "both").write_text("above")
    return top, base


async def _look(spawner: Spawner, root_fd: int, code: str) -> str:
    """What a command of the shell prints in a root that has the node's programs shown in it."""
    sandbox = await spawner.spawn("guest", root_fd)
    read_fd, write_fd = os.pipe()
    job = sandbox.run(["/bin/sh", "-c", code], env={"PATH": "/bin:/usr/bin"}, fds={1: write_fd})
    os.close(write_fd)
    ended = await job
    with os.fdopen(read_fd) as pipe:
        text = pipe.read()
    await sandbox.gone
    assert ended.status == 0, (ended, text)
    return text.strip()


def _programs() -> tuple[Shown, ...]:
    """What the shell needs of this machine."""
    return tuple(
        Shown(os.path.realpath(path), path)
        for path in ("/bin", "/usr", "/lib", "/lib64")
        if os.path.exists(path)
    )


def test_layers_are_stacked_what_is_written_is_apart_and_nothing_of_the_node_is_seen(
    tmp_path: Path, layers: tuple[Path, Path]
) -> None:
    secret = tmp_path / "shown"
    secret.write_text("shown")

    async def scenario(spawner: Spawner, client: RootClient) -> None:
        request = RootRequest(
            lowers=tuple(map(str, layers)),
            place=str(tmp_path / "one"),
            shown=(*_programs(), Shown(str(secret), f"{OURS}/file"), Shown(str(secret), "/var/x")),
            directories=("/srv/work",),
        )
        fd = await client.make(request)
        looked = await _look(
            spawner,
            fd,
            "cat /etc/below /etc/both /.rekindle/file /elsewhere/x; hostname; rm /etc/below;"
            f"echo more > /etc/new; test -e {tmp_path} || echo hidden; test -d /srv/work && echo d;"
            "echo > /.rekindle/file || echo fixed; echo x > /dev/null; echo > /dev/new || echo ro;"
            "test -e /proc/self/fd && test -d /sys/kernel && test -w /tmp && echo there",
        )
        ipcs = [await _look(spawner, fd, "readlink /proc/self/ns/ipc") for _ in range(2)]
        assert len({*ipcs, os.readlink(f"/proc/{spawner.pid}/ns/ipc")}) == 3
        os.close(fd)
        in_use = "sed -n 's/.* - overlay overlay //p' /proc/self/mountinfo"
        assert looked == "belowaboveshownshownguest\nhidden\nd\nfixed\nro\nthere"
        assert not (tmp_path / "one" / "upper" / "etc" / "below").is_file()
        assert (tmp_path / "one" / "upper" / "etc" / "new").read_text() == "more\n"
        # Another one has the layers as they are, and one above what was written has that.
        request = RootRequest(
            lowers=tuple(map(str, layers)), place=str(tmp_path / "two"), shown=_programs()
        )
        fd = await client.make(request)
        assert await _look(
            spawner, fd, "cat /etc/below; ls /etc"
        ) == "belowbelow\nboth\nhosts\n" + ("resolv.conf")
        os.close(fd)
        request = RootRequest(
            lowers=tuple(map(str, layers)),
            written=(str(tmp_path / "one" / "upper"),),
            place=str(tmp_path / "three"),
            shown=_programs(),
        )
        fd = await client.make(request)
        assert await _look(spawner, fd, "cat /etc/new; test -e /etc/below || echo gone") == (
            "more\ngone"
        )
        # What says which layers are in use, and no path of the node.
        mounted = await _look(spawner, fd, in_use)
        assert "l-0123cd/root:l-0123ab/root" in mounted and str(tmp_path) not in mounted
        os.close(fd)

    with_maker(tmp_path, scenario)


def _tree(place: Path, **files: str) -> str:
    """A folder with these files; ``__`` in a name stands for a slash."""
    for name, text in files.items():
        file = place / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(place)


def test_local_files_lie_over_the_images_in_the_order_given(
    tmp_path: Path, layers: tuple[Path, Path]
) -> None:
    base = layers[1]
    _tree(base / "root", bashrc="of the image", mod__inner="of the image")
    (base / "gone").mkdir()
    _tree(base / "gone", x="x")
    os.mknod(layers[0] / "gone", 0o600 | stat.S_IFCHR, os.makedev(0, 0))
    whole = _tree(tmp_path / "whole", own="own", deep__a="first", deep__b="first")
    os.symlink("own", f"{whole}/deep/link")
    file = _tree(tmp_path / "file", cfg="file") + "/cfg"
    root = _tree(tmp_path / "home", mod__more="more", etc__both="laid")

    def laid(source: str, target: str) -> Shown:
        return Shown(source, target, laid=True)

    async def scenario(spawner: Spawner, client: RootClient) -> None:
        async def look(name: str, code: str, *files: Shown) -> str:
            request = RootRequest(
                lowers=tuple(map(str, layers)),
                place=str(tmp_path / name),
                shown=(*_programs(), *files),
            )
            fd = await client.make(request)
            try:
                return await _look(spawner, fd, code)
            finally:
                os.close(fd)

        over, under = laid(file, "/app/deep/a"), laid(whole, "/app")
        seen = "cd /app; cat own deep/a deep/b; readlink deep/link; echo > deep/b || echo fixed"
        assert await look("a", seen, under, over) == "ownfilefirstown\nfixed"
        assert await look("b", seen, over, under) == "ownfirstfirstown\nfixed"
        # What the image has beside them stays, and can be written to. To a user who is not root
        # its home is another one, with nothing of the image's in it.
        seen = "cd /root; cat */*; { echo > mod/new; } 2> /dev/null; echo * mod/*"
        expected = "laidof the imagemorebashrc etc mod mod/inner mod/more mod/new"
        if os.geteuid() != 0:
            expected = "laidmoreetc mod mod/more"
        assert await look("c", seen, laid(root, "/root")) == expected
        assert await look("d", "cat /etc/both /etc/below", laid(root, "/")) == "laidbelow"
        # What a layer has removed is nowhere; so is a folder that nothing else goes into.
        assert await look("e", "ls /gone", laid(whole, "/gone")) == "deep\nown"
        assert await look("f", "cat /gone", laid(file, "/gone")) == "file"
        with pytest.raises(StartError, match="shown at /etc, which is a folder of the image: name"):
            await look("g", "", laid(file, "/etc"))
        with pytest.raises(StartError, match="both to be shown at /app/deep"):
            await look("h", "", under, laid(file, "/app/deep"))

    with_maker(tmp_path, scenario)


def test_nothing_is_made_in_a_volume_for_local_files(
    tmp_path: Path, layers: tuple[Path, Path]
) -> None:
    volume, file = tmp_path / "volume", _tree(tmp_path / "file", cfg="file") + "/cfg"
    volume.mkdir()
    (layers[1] / "link").symlink_to("/data")
    linked = tmp_path / "linked"
    linked.symlink_to("elsewhere")

    async def scenario(spawner: Spawner, client: RootClient) -> None:
        for at, (source, target) in enumerate(
            [
                (file, "/data/conf/cfg"),
                (str(tmp_path / "file"), "/data"),
                (file, "/link/conf/cfg"),  # the image leads there
                (str(linked), "/data/linked"),
            ]
        ):
            request = RootRequest(
                lowers=tuple(map(str, layers)),
                place=str(tmp_path / f"root-{at}"),
                shown=(Shown(str(volume), "/data", False), Shown(source, target, laid=True)),
            )
            with pytest.raises(StartError, match=f"shown at {target}, which is in what is mounted"):
                await client.make(request)
            assert list(volume.iterdir()) == []

    with_maker(tmp_path, scenario)


def test_a_root_that_cannot_be_made_says_why_and_the_next_one_is_made(
    tmp_path: Path, layers: tuple[Path, Path]
) -> None:
    async def scenario(spawner: Spawner, client: RootClient) -> None:
        with pytest.raises(StartError, match="no root for a process: the layers"):
            await client.make(RootRequest(lowers=("/gone",), place=str(tmp_path / "one")))
        good = RootRequest(lowers=tuple(map(str, layers)), place=str(tmp_path / "two"))
        os.close(await client.make(good))
        await spawner.stop()
        async with asyncio.timeout(60):
            while not client.is_gone:  # it ends with the spawner, or just after it
                await asyncio.sleep(0.01)
        with pytest.raises(StartError, match="makes roots"):
            await client.make(good)

    with_maker(tmp_path, scenario)


@needs_fuse
@pytest.mark.needs_root("mounts in this namespace")
def test_a_volume_that_does_not_answer_keeps_no_other_root_from_being_made(
    tmp_path: Path, layers: tuple[Path, Path]
) -> None:
    volume, sound = tmp_path / "volume", tmp_path / "sound"
    sound.mkdir()

    def request(name: str, source: Path) -> RootRequest:
        shown = (Shown(str(source), "/mnt/data", may_hang=True), *_programs())
        lowers = tuple(map(str, layers))
        return RootRequest(lowers=lowers, place=str(tmp_path / name), shown=shown)

    async def scenario(spawner: Spawner, client: RootClient) -> None:
        os.close(await client.make(request("first", sound)))
        waits = [asyncio.create_task(client.make(request(f"w{n}", volume))) for n in range(2)]
        maker = psutil.Process(spawner.pid).children()[0]
        while len(maker.children()) < len(waits):
            await asyncio.sleep(0.01)
        made = await client.make(request("second", sound))
        assert await _look(spawner, made, "cat /etc/both; ls /mnt") == "abovedata"
        os.close(made)
        assert not any(one.done() for one in waits)
        give_up()
        for one in waits:
            with pytest.raises(StartError, match="no root for a process"):
                await one
        os.close(await client.make(request("third", sound)))
        number = 0
        while len(maker.children()) > 1:  # it waits for those that have ended before the next
            number += 1
            os.close(await client.make(request(f"more-{number}", sound)))

    with hung(volume) as give_up:
        with_maker(tmp_path, scenario)


@needs_erofs
def test_a_layer_that_took_the_place_of_another_is_mounted_there_and_the_other_no_more(
    tmp_path: Path, layers: tuple[Path, Path]
) -> None:
    _top, base = layers
    layer, gone = tmp_path / "layers" / "l-0123ef", tmp_path / "drafts" / ".gone-l-0123ef"
    gone.parent.mkdir()

    def mounted(spawner: Spawner) -> list[str]:
        """Where layers are mounted that are one file each, as the maker of roots sees it."""
        (maker,) = psutil.Process(spawner.pid).children()
        lines = Path(f"/proc/{maker.pid}/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if " - erofs " in line]

    async def scenario(spawner: Spawner, client: RootClient) -> None:
        for text in ("first", "second"):
            (layer / "root").mkdir(parents=True)
            (tmp_path / text).mkdir()
            (tmp_path / text / "said").write_text(text)
            erofs.make(tmp_path / text, layer / "file")
            request = RootRequest(
                lowers=(str(layer / "root"), str(base)),
                packed=((str(layer / "file"), str(layer / "root")),),
                place=str(tmp_path / f"of-{text}"),
                shown=_programs(),
            )
            fd = await client.make(request)
            assert await _look(spawner, fd, "cat /said") == text
            os.close(fd)
            assert mounted(spawner) == [str(layer / "root")]
            if text == "first":
                layer.rename(gone)  # what was damaged in the store, say
        await client.let_go([str(layer / "root")])
        assert mounted(spawner) == []

    with_maker(tmp_path, scenario)


# ---- sources, with a maker that makes nothing --------------------------------------------------


class _Maker:
    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path, self.requests = tmp_path, list[RootRequest]()

    async def make(self, request: RootRequest) -> int:
        self.requests.append(request)
        Path(request.place, "upper").mkdir(parents=True)
        return os.open("/dev/null", os.O_RDONLY)

    def place(self) -> Path:
        return self.tmp_path / f"place-{len(self.requests)}"


async def _gone(root: Root) -> None:
    while root.place.exists():
        await asyncio.sleep(0.005)


def test_what_a_template_wrote_stays_until_the_last_of_its_copies_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        maker = _Maker(tmp_path)
        shown = tmp_path / "shown"
        shown.mkdir()

        async def what() -> list[Shown]:
            return [Shown(str(shown), "/there")]

        source = RootSource(maker.make, maker.place, (tmp_path / "layer",), what)
        template = await source.take()
        (template.upper / "file").write_text("written")
        template.keep()
        copies = source.below(template, depth=1, on_done=template.let_go)
        one, two = await copies.take(), await copies.take()
        assert maker.requests[1].written == (str(template.upper),)
        assert maker.requests[1].lowers == (str(tmp_path / "layer"),)
        while len(maker.requests) < 4:
            await asyncio.sleep(0.005)
        template.remove()  # its process has ended
        copies.close()
        one.remove()
        await _gone(one)
        assert template.place.exists()
        two.remove()
        await _gone(template)
        while [path.name for path in tmp_path.iterdir()] != ["shown"]:  # the one made ahead
            await asyncio.sleep(0.005)
        with pytest.raises(StartError, match="template is gone"):
            await copies.take()

    asyncio.run(main())


def test_a_root_made_ahead_is_not_taken_where_another_thing_is_shown_by_now(tmp_path: Path) -> None:
    async def main() -> None:
        maker = _Maker(tmp_path)
        shown = tmp_path / "shown"
        shown.mkdir()

        async def what() -> list[Shown]:
            return [Shown(str(shown), "/there")]

        source = RootSource(maker.make, maker.place, (tmp_path / "layer",), what, depth=1)
        first = await source.take()
        while len(maker.requests) < 2:
            await asyncio.sleep(0.005)
        ahead = maker.requests[1].place
        (tmp_path / "other").mkdir()
        shown.rename(tmp_path / "former")
        (tmp_path / "other").rename(shown)
        taken = await source.take()
        assert str(taken.place) != ahead
        shown.rmdir()
        with pytest.raises(StartError, match="/there in an image, is not there"):
            await source.take()
        source.close()
        for root in (first, taken):
            root.remove()

    asyncio.run(main())


def test_a_root_that_the_disk_has_no_room_for_is_a_start_that_fails(tmp_path: Path) -> None:
    async def main() -> None:
        maker = _Maker(tmp_path)

        async def nothing() -> list[Shown]:
            return []

        async def full(_request: RootRequest) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        source = RootSource(full, maker.place, (tmp_path / "layer",), nothing)
        with pytest.raises(StartError, match=r"cannot be made: .*No space left on device"):
            await source.take()
        source.close()

    asyncio.run(main())
