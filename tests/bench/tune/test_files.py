import gzip
import time
from pathlib import Path

import pytest

from rekindle.bench.tune.load import guess_format, load
from rekindle.bench.tune.trace import Trace
from rekindle.exception import InvalidError
from tests.bench.tune.traces import SNAPSHOT

_MINUTES = ",".join(str(minute) for minute in range(1, 1441))
_HEADER_2019 = f"HashOwner,HashApp,HashFunction,Trigger,{_MINUTES}"


def row_2019(name: str, trigger: str = "http", **counts: int) -> str:
    """A row with these counts, such as m7=3."""
    values = ["0"] * 1440
    for minute, count in counts.items():
        values[int(minute[1:]) - 1] = str(count)
    return ",".join(["owner", "app", name, trigger, *values])


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path, **options: object) -> Trace:
    return load(path, SNAPSHOT, service_s=0.25, **options)  # type: ignore[arg-type]


def arrivals(trace: Trace) -> list[tuple[float, str, float]]:
    return [
        (when, trace.functions[index].label, service)
        for times, which, services in trace.chunks()
        for when, index, service in zip(times, which, services, strict=True)
    ]


# ---- 2019 ----------------------------------------------------------------------------------


def test_counts_a_minute_become_arrivals_in_that_minute(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d01.csv",
        _HEADER_2019,
        row_2019("aaa", m1=2, m7=30),
        row_2019("bbb", "timer", m3=1, m4=2),
    )
    trace = read(path)
    found = arrivals(trace)
    assert [f.label for f in trace.functions] == ["aaa", "bbb"]
    assert trace.duration_s == 86400
    times = [when for when, label, _ in found if label == "aaa"]
    assert sum(when < 60 for when in times) == 2
    assert sum(360 <= when < 420 for when in times) == 30
    assert [when for when, label, _ in found if label == "bbb"] == [120.0, 180.0, 210.0]
    assert [when for when, _, _ in found] == sorted(when for when, _, _ in found)
    assert {service for _, _, service in found} == {0.25}
    assert arrivals(trace) == found  # every time the same


def test_functions_can_be_chosen_by_hash_and_by_number(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d01.csv", _HEADER_2019, *(row_2019(f"{i:03}f", m1=1) for i in range(20))
    )
    assert [f.label for f in read(path, most=3).functions] == ["000f", "001f", "002f"]
    assert [f.label for f in read(path, only="01").functions][:2] == ["010f", "011f"]
    with pytest.raises(InvalidError, match="no function whose hash begins with 'x'"):
        read(path, only="x")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (row_2019("a", m5=1)[:-2], "line 3: 1443 fields, the header has 1444"),
        (row_2019("a", m5=1).replace(",1,", ",many,"), "line 3, column 5: 'many' is not a number"),
        (row_2019("a", m5=1).replace(",1,", ",-4,"), "line 3, column 5: -4 is less than 0"),
        (row_2019("a", m5=1).replace(",1,", ",1.5,"), "column 5: 1.5 is not a whole number"),
    ],
)
def test_a_bad_row_is_named_with_line_and_column(tmp_path: Path, row: str, problem: str) -> None:
    path = write(tmp_path / "d01.csv", _HEADER_2019, row_2019("fine", m1=1), row)
    with pytest.raises(InvalidError) as caught:
        read(path)
    assert problem in str(caught.value)
    assert "d01.csv" in str(caught.value)


def test_a_header_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "d01.csv", "HashFunction,Trigger,1,2", "a,http,1,0")
    with pytest.raises(InvalidError, match="line 1, column HashOwner: missing from the header"):
        read(path)
    path = write(
        tmp_path / "d02.csv", "HashOwner,HashApp,HashFunction,Trigger,1,two", "a,b,c,d,1,2"
    )
    with pytest.raises(InvalidError, match="column two: a minute is 1 to 1440"):
        read(path)


# ---- 2021 ----------------------------------------------------------------------------------


def test_invocations_arrive_when_they_began(tmp_path: Path) -> None:
    path = write(
        tmp_path / "trace.txt",
        "app,func,end_timestamp,duration",
        "a,f,110.0,5.0",
        "a,f,111.0,10.0",
        "b,g,120.0,0.5",
    )
    trace = read(path)
    assert arrivals(trace) == [(0.0, "a.f", 10.0), (4.0, "a.f", 5.0), (18.5, "b.g", 0.5)]
    assert trace.duration_s == pytest.approx(19.0)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a,f,110.0", "line 2: 3 fields, the header has 4"),
        ("a,f,soon,5", "line 2, column end_timestamp: 'soon' is not a number"),
        ("a,f,110,-5", "line 2, column duration: -5 is less than 0"),
        ("a,f,nan,5", "line 2, column end_timestamp: 'nan' is not a finite number"),
    ],
)
def test_a_bad_invocation_is_named(tmp_path: Path, row: str, problem: str) -> None:
    path = write(tmp_path / "trace.txt", "app,func,end_timestamp,duration", row)
    with pytest.raises(InvalidError) as caught:
        read(path)
    assert problem in str(caught.value)


# ---- plain timestamps ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ["10.5", "11", "20"],
        ["timestamp", "10.5", "11", "20"],
        ["20", "10.5", "11"],
        ["2026-01-01T00:00:10.5Z", "2026-01-01T01:00:11+01:00", "2026-01-01 00:00:20"],
        ["when,Time", "x,10.5", "y,11", "z,20"],
        ["10.5", "", "11", "  ", "20"],
    ],
)
def test_times_in_seconds_or_iso_with_or_without_a_header(tmp_path: Path, lines: list[str]) -> None:
    path = write(tmp_path / "arrivals.csv", *lines)
    assert [when for when, _, _ in arrivals(read(path))] == pytest.approx([0.0, 0.5, 9.5])


def test_a_time_without_a_zone_is_utc_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "arrivals.csv", "2026-01-01T00:00:00", "2026-01-01T00:00:09Z")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = arrivals(read(path))
    time.tzset()
    assert [when for when, _, _ in found] == [0.0, 9.0]


def test_durations_and_functions_are_taken_where_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "function,timestamp,duration", "f,1,0.5", "g,2,", "f,3,2")
    assert arrivals(read(path)) == [(0.0, "f", 0.5), (1.0, "g", 0.25), (2.0, "f", 2.0)]
    path = write(tmp_path / "b.csv", "1,0.5", "2,0.75,other")
    assert arrivals(read(path)) == [(0.0, "b", 0.5), (1.0, "other", 0.75)]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["hello,world"], "line 1, column 1: 'hello' is neither a time"),
        (["timestamp", "10", "tomorrow"], "line 3, column timestamp: 'tomorrow' is neither"),
        (["timestamp,duration", "10,long"], "line 2, column duration: 'long' is not a number"),
        (["name,timestamp", "f"], "line 2, column timestamp: missing"),
        (["timestamp"], "empty"),
        ([""], "empty"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[str], problem: str) -> None:
    path = write(tmp_path / "arrivals.csv", *lines)
    with pytest.raises(InvalidError) as caught:
        read(path)
    assert problem in str(caught.value)


# ---- any -----------------------------------------------------------------------------------


def test_the_format_is_found_by_the_header(tmp_path: Path) -> None:
    for name, header in (
        ("azure2019", _HEADER_2019),
        ("azure2021", "app,func,end_timestamp,duration"),
        ("csv", "timestamp"),
        ("csv", "1700000000.25"),
    ):
        assert guess_format(write(tmp_path / "t.csv", header)) == name


def test_gzipped_files_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv.gz"
    path.write_bytes(gzip.compress(b"timestamp\n5\n7\n"))
    assert [when for when, _, _ in arrivals(read(path))] == [0.0, 2.0]


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arrivals.csv"
    path.write_bytes(b"\xff\xfe\x00\x01\x80")
    with pytest.raises(InvalidError, match="not a text file"):
        read(path)
    with pytest.raises(InvalidError, match="cannot read"):
        read(tmp_path / "missing.csv")


def test_an_unknown_format_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no format 'parquet'; there are: azure2019"):
        read(write(tmp_path / "t.csv", "1"), format_="parquet")
