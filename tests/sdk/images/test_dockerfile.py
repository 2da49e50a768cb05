"""Dockerfiles as steps of an image."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from rekindle import Image
from rekindle.exception import InvalidError
from rekindle.sdk.images import copy_patterns
from rekindle.wire.images import Step, StepKind
from tests.hung import hung

pytestmark = pytest.mark.usefixtures("own_images")


def _steps(folder: Path, text: str, **given: object) -> tuple[Step, ...]:
    (folder / "Dockerfile").write_text(text)
    image = Image.from_dockerfile(folder / "Dockerfile", **given)  # type: ignore[arg-type]
    return image.spec().steps


def test_its_lines_are_the_steps(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("x")
    steps = _steps(
        tmp_path,
        """
        # a comment
        ARG VERSION=1
        FROM python:3.13-slim
        LABEL me=you
        ENV MODE=fast \\
            LEVEL="2 3"
        WORKDIR /srv
        RUN pip install six==$VERSION && \\
            echo done
        COPY app.py lib/
        ENTRYPOINT ["python", "-u"]
        """,
        build_args={"VERSION": "1.17"},
    )
    base, env, workdir, run, copy, entrypoint = steps
    assert base.arguments == {"image": "docker://python:3.13-slim"}
    assert env.env == {"MODE": "fast", "LEVEL": "2 3"}
    assert workdir.arguments == {"workdir": "/srv"}
    assert run.kind is StepKind.RUN
    said = f"export VERSION=1.17; pip install six==$VERSION && {' ' * 12}echo done"
    assert run.commands == (said,)
    assert run.title == "RUN pip install six==$VERSION && echo done"
    assert [one.target for one in copy.files] == ["/srv/lib/app.py"]
    assert entrypoint.arguments == {"entrypoint": "python -u"}


def test_lines_go_on_as_docker_has_it(tmp_path: Path) -> None:
    text = "FROM x\nRUN\techo a\\ \n# not of it\n\nb 'c  \\\n  d'\nRUN last && \\\n"
    _, first, last = _steps(tmp_path, text)
    assert first.commands == ("echo ab 'c    d'",)
    assert last.commands == ("last &&",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("FRUM debian", "line 2: no instruction 'FRUM'"),
        ("FROM other", "only one FROM"),
        ("COPY --from=build /a /b", "build stages are not supported"),
        ("COPY 5", "give what to copy and where to"),
        ('COPY ["[5" "/b"]', "is no pattern"),
        ("COPY none /b", "there is no none"),
        ("COPY none /dev/b", "line 2: .*/dev is the kernel's"),
        ("ADD https://x/y /b", "RUN curl"),
        ("USER nobody", "steps run as root"),
        ("RUN --mount=type=cache x", "RUN with --mount=type=cache is not supported"),
        ("RUN <<EOF", "here-document"),
        ("ENV A", "line 2"),
        ("ENV A='b", "line 2: ' is not closed"),
        ("COPY $WHERE/a /b", r"line 2: COPY: \$WHERE is set by no ENV or ARG before it"),
    ],
)
def test_a_line_that_cannot_be_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        _steps(tmp_path, f"FROM debian:13\n{line}\n")


def test_quotes_and_variables_are_read_as_docker_reads_them(tmp_path: Path) -> None:
    _, *envs, run, other, brackets, shell = _steps(
        tmp_path,
        r"""
        FROM debian:13
        ARG V=1
        ENV A="x $V" B='$V' C=\$V D=${V}y E=${V:+set}
        ENV A=2 F="$A" G="${NONE_OF_US:-else}"
        RUN [ -d /etc ] && echo $A
        RUN ["echo", "$A b"]
        RUN [[ -d /etc ]]
        CMD echo $A
        """,
    )
    assert envs[0].env == {"A": "x 1", "B": "$V", "C": "$V", "D": "1y", "E": "set"}
    assert envs[1].env == {"A": "2", "F": "x 1", "G": "${NONE_OF_US:-else}"}
    assert "mentions" not in envs[0].arguments and "mentions" in envs[1].arguments
    assert run.commands == ("export V=1; [ -d /etc ] && echo $A",)
    assert other.commands == ("export V=1; echo '$A b'",)
    assert brackets.commands == ("export V=1; [[ -d /etc ]]",)
    assert shell.arguments == {"cmd": "/bin/sh -c 'echo $A'"}


def test_arguments_are_what_docker_makes_of_them(tmp_path: Path) -> None:
    text = """
        ARG RELEASE=13
        ARG BASE=$NOWHERE
        FROM debian:$RELEASE
        ARG RELEASE
        ARG UNSET
        ENV MODE=fast
        ARG MODE=slow
        ENV SEEN="$RELEASE $UNSET $MODE $BASE"
        RUN make
        """
    given = {"BASE": "local"}
    base, _, seen, run = _steps(tmp_path, text, build_args=given)
    assert base.arguments == {"image": "docker://debian:13"}
    assert seen.env == {"SEEN": "13  fast local"}
    assert run.commands == ("export BASE=local MODE=fast RELEASE=13 UNSET=''; make",)
    assert _steps(tmp_path, text, build_args={**given, "RELEASE": "12"})[2].env == {
        "SEEN": "12  fast local"
    }
    with pytest.raises(InvalidError, match=r"line 3: ARG: \$NOWHERE is set by no ENV or ARG"):
        _steps(tmp_path, text)


def _context(folder: Path) -> Path:
    """A build context of a few files."""
    for name in ("a.py", "b.txt", ".env", "sub/c.py", "sub/d.txt", "sub/deep/e.py", "logs/f.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def _copied(step: Step) -> set[str]:
    return {
        str(one.relative_to(file.kept))
        for file in step.files
        for one in (Path(file.kept), *Path(file.kept).rglob("*"))
        if one.is_file()
    }


@pytest.mark.parametrize(
    ("ignore", "left"),
    [
        ("*.py\n", {"b.txt", ".env", "sub/c.py", "sub/d.txt", "sub/deep/e.py", "logs/f.log"}),
        ("# all\n**/*.py\n/.env\nlogs/\n", {"b.txt", "sub/d.txt"}),
        ("*\n!sub/**/*.py\n", {"sub/c.py", "sub/deep/e.py"}),
        ("**\n!sub/deep\nsub/deep/x\n", {"sub/deep/e.py"}),
        ("sub/../*\n!./b.txt\n", {"b.txt"}),
        ("sub\n!sub/[^c].txt\n*.py\n.env\nlogs/**\n", {"b.txt", "sub/d.txt"}),
        (".\n*.p?\n! a.py\nsub\nlogs\n.e*\n", {"a.py", "b.txt"}),
    ],
)
def test_a_dockerignore_file_leaves_out_what_docker_leaves_out(
    tmp_path: Path, ignore: str, left: set[str]
) -> None:
    context = _context(tmp_path / "context")
    (context / ".dockerignore").write_text(ignore + "Docker*\n.docker*\n")
    assert _copied(_steps(context, "FROM debian:13\nCOPY . /all\n")[-1]) == left
    lines = Image.debian_slim("3.13").dockerfile_commands("COPY . /all", context_dir=context)
    assert _copied(lines.spec().steps[-1]) == left


def test_what_is_ignored_counts_from_the_context_and_nothing_of_it_can_be_copied_by_name(
    tmp_path: Path,
) -> None:
    context = _context(tmp_path / "context")
    (context / ".dockerignore").write_text("sub/c.py\nlogs\n.env\n")
    assert _copied(_steps(context, "FROM x\nCOPY sub /s\n")[-1]) == {"d.txt", "deep/e.py"}
    assert len(_steps(context, "FROM x\nCOPY sub/*.* a.py /s/\n")[-1].files) == 2
    for source in ("logs", "logs/f.log", ".env", "sub/c*"):
        with pytest.raises(InvalidError, match=r"line 2: .* is left out of the build context"):
            _steps(context, f"FROM x\nCOPY {source} /s\n")
    own = context / "Dockerfile.dockerignore"  # of that Dockerfile alone, in place of the other
    own.write_text("sub/d.txt\n")
    assert _copied(_steps(context, "FROM x\nCOPY sub /s\n")[-1]) == {"c.py", "deep/e.py"}
    given = _steps(context, "FROM x\nCOPY sub /s\n", ignore=["sub/deep"])[-1]
    assert _copied(given) == {"c.py", "d.txt"}


def test_what_is_left_out_is_not_there_by_a_link_to_it_either(tmp_path: Path) -> None:
    context = _context(tmp_path / "context")
    (context / "lib").symlink_to("sub")
    (context / "one").symlink_to("sub/c.py")
    (context / "log").symlink_to("logs")
    (context / ".dockerignore").write_text("sub/c.py\nlogs\n")
    assert _copied(_steps(context, "FROM x\nCOPY lib /s\n")[-1]) == {"d.txt", "deep/e.py"}
    for source in ("one", "lib/c.py", "lib/c*", "log", "log/f.log"):
        with pytest.raises(InvalidError, match=r"line 2: .* is left out of the build context"):
            _steps(context, f"FROM x\nCOPY {source} /s\n")


@pytest.mark.parametrize(
    ("ignore", "there"),
    [
        ("lib/c.py", {"sub/c.py", "lib/c.py", "lib/near/e.py"}),  # where no file lies
        ("lib", {"sub/c.py"}),
        ("lib/near", {"sub/c.py", "lib/c.py", "lib/near/e.py"}),
        ("sub/near", {"sub/c.py", "lib/c.py"}),
        ("sub/*\n!sub/c.py", {"sub/c.py", "lib/c.py"}),
    ],
)
def test_a_pattern_is_of_where_something_lies_and_not_of_a_way_to_it(
    tmp_path: Path, ignore: str, there: set[str]
) -> None:
    context = _context(tmp_path / "context")
    (context / "lib").symlink_to("sub")
    (context / "sub" / "near").symlink_to("deep")
    (context / ".dockerignore").write_text(ignore)
    found = set()
    for source in ("sub/c.py", "lib/c.py", "lib/near/e.py"):
        with contextlib.suppress(InvalidError):
            _steps(context, f"FROM x\nCOPY {source} /s\n")
            found.add(source)
    assert found == there


def test_nothing_outside_of_the_context_is_copied(tmp_path: Path) -> None:
    context = _context(tmp_path / "context")
    (tmp_path / "secret").write_text("secret")
    (context / "link").symlink_to("../secret")
    (context / "folder").symlink_to("..")
    (context / "within").symlink_to("sub/c.py")
    for source in ("../secret", "/../secret", "sub/../../secret", "..", "link", "folder/secret"):
        with pytest.raises(InvalidError, match=r"line 2: COPY: .* outside of the build context"):
            _steps(context, f"FROM x\nCOPY {source} /s\n")
    for source in ("sub/../a.py", "/a.py", "within"):
        assert len(_steps(context, f"FROM x\nCOPY {source} /s\n")[-1].files) == 1


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a.py", "b.txt", "lib", "sub"]),
        ("*/?.py", ["sub/c.py"]),
        ("**/*.py", ["sub/c.py"]),
        ("**/[^c].*", ["sub/d.txt"]),
        ("sub/**", ["sub/c.py", "sub/d.txt", "sub/deep", "sub/near"]),
        ("a.py/*", []),
        ("lib/*", ["lib/c.py", "lib/d.txt", "lib/deep", "lib/near"]),
        ("lib/*/e.py", ["lib/deep/e.py"]),
        ("lib/near/*", ["lib/near/e.py"]),
        ("*/near/e.py", []),
        ("*/near", ["sub/near"]),
    ],
)
def test_a_pattern_means_what_it_means_to_docker_links_too(
    tmp_path: Path, pattern: str, found: list[str]
) -> None:
    for name in ("a.py", "b.txt", "sub/c.py", "sub/d.txt", "sub/deep/e.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "lib").symlink_to("sub")
    (tmp_path / "sub" / "near").symlink_to("deep")
    matched = copy_patterns.matching(tmp_path, pattern, lambda _: False)
    assert [str(one.relative_to(tmp_path)) for one in matched] == found


def test_a_pattern_that_is_none_is_an_error_of_its_line(tmp_path: Path) -> None:
    _context(tmp_path)
    with pytest.raises(InvalidError, match=r"line 2: COPY \*\.\[pt /s/: '\*\.\[pt' is no pattern"):
        _steps(tmp_path, "FROM x\nCOPY *.[pt /s/\n")
    (tmp_path / ".dockerignore").write_text("sub/[\n")
    with pytest.raises(InvalidError, match=r"\.dockerignore: '\[' is no pattern"):
        _steps(tmp_path, "FROM x\nCOPY *.py /s/\n")


def test_words_of_a_copy_are_without_their_quotes(tmp_path: Path) -> None:
    _context(tmp_path)
    _, step = _steps(tmp_path, "FROM x\nCOPY \"a.py\" sub/'*'.txt '/s/'\n")
    assert [one.target for one in step.files] == ["/s/a.py", "/s/d.txt"]
    with pytest.raises(InvalidError, match=r'line 2: " is not closed'):
        _steps(tmp_path, 'FROM x\nCOPY "a b" /s/\n')


@pytest.mark.needs_root("mounts a file system")
@pytest.mark.parametrize("pattern", ["*/f", "**/f", "lost/f", "lost/*"])
def test_a_folder_that_cannot_be_read_is_named_and_not_passed_over(
    tmp_path: Path, pattern: str
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "f").touch()
    with hung(tmp_path / "lost") as end:
        end()
        with pytest.raises(InvalidError, match=r"line 2: COPY .*/lost.* cannot be read"):
            _steps(tmp_path, f"FROM x\nCOPY {pattern} /s/\n")
        left_out = _steps(tmp_path, "FROM x\nCOPY */f /s/\n", ignore=["lost"])[-1]
        assert [Path(one.source).name for one in left_out.files] == ["f"]


def test_lines_go_on_top_of_any_image(tmp_path: Path) -> None:
    image = Image.debian_slim("3.13").dockerfile_commands("ENV A=b", ["RUN echo $A"])
    env, run = image.spec().steps[1:]
    assert env.env == {"A": "b"}
    assert run.commands == ("echo $A",)
    for declare in (
        lambda: image.dockerfile_commands("FROM alpine:3.20", "RUN x"),
        lambda: image.dockerfile_commands("ARG V=3.20", ["FROM alpine:$V AS base"]),
        lambda: Image.from_registry("debian:13", setup_dockerfile_commands=["FROM alpine:3.20"]),
    ):
        with pytest.raises(InvalidError, match=r"begin with Image.from_registry\('alpine:3.20'\)"):
            declare()
