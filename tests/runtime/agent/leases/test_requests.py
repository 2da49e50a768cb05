"""Clients that wait for a runner: who is refused, and who waits for as long as it takes."""

from __future__ import annotations

from rekindle.runtime.agent.leases.requests import LeaseRequest, Requests
from rekindle.wire import rekindle_pb2 as pb

KEY = ("fu-1", "")


def a_request(requests: Requests, answers: list[str], name: str, *, patient: bool) -> LeaseRequest:
    def answer(granted: pb.LeaseGranted | None) -> None:
        assert granted is not None
        answers.append(f"{name}: {granted.reason}")

    made = LeaseRequest(name, 0, 0, answer, patient=patient)
    requests.add(KEY, made)
    return made


def test_the_patient_are_not_refused_where_no_runner_is_coming() -> None:
    requests, answers = Requests(), list[str]()
    a_request(requests, answers, "a", patient=False)
    b = a_request(requests, answers, "b", patient=True)
    a_request(requests, answers, "c", patient=False)
    assert requests.refuse_beyond(KEY, 1, "none is idle") == 1
    assert requests.refuse_beyond(KEY, 0, "none is idle") == 1
    assert answers == ["c: none is idle", "a: none is idle"]
    assert requests.patient(KEY) == [b] == list(requests.of(KEY))


def test_the_patient_are_refused_with_their_app() -> None:
    requests, answers = Requests(), list[str]()
    a_request(requests, answers, "a", patient=True)
    requests.refuse_pool(KEY, "closed")
    assert answers == ["a: closed"] and not requests.of(KEY)


def test_one_that_is_gone_waits_no_more() -> None:
    requests, answers = Requests(), list[str]()
    a = a_request(requests, answers, "a", patient=True)
    requests.remove(KEY, a)
    requests.remove(KEY, a)
    assert not requests.patient(KEY) and not answers
