"""What is counted, while it is counted: `/metrics` as Prometheus reads it, its page, and what dashboards ask of it."""

import json
import re
import subprocess

import pytest

from fleet import eventually, fleet
from parlor import DEPLOY, ROOT, metrics, tool

DASHBOARD = json.loads((DEPLOY / "observability" / "dashboards" / "parlor.json").read_text())
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]

#: A row of docs/metrics.md: the name, its type, its labels, from when on it is there.
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) ?\| (start|first) \|", re.M)


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """A fleet in which somebody has talked."""
    with fleet(tmp_path_factory.mktemp("fleet")) as it:
        it.talk()
        yield it


def page() -> dict[str, tuple[str, set[str], str]]:
    """Each metric of the page: its type, its labels, and from when on it is there."""
    rows = ROW.findall((ROOT / "docs" / "metrics.md").read_text())
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), since) for name, kind, labels, since in rows}


def shown(exposition: str) -> dict[str, tuple[str, set[str]]]:
    """Each metric of an answer of `/metrics`: its type and its labels."""
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", exposition, re.M))
    found = {name: (kind, set()) for name, kind in kinds.items()}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", exposition, re.M):
        base = name if name in found else re.sub(r"_(bucket|sum|count)$", "", name)
        found[base][1].update(set(re.findall(r'(\w+)="', labels)) - {"le"})
    return found


def test_the_page_lists_what_the_source_counts():
    listed = {name for name in page() if not name.startswith("process_")}
    assert listed == metrics(), listed ^ metrics()


@pytest.mark.parametrize("program", ["gateway", "room-service"])
def test_promtool_has_nothing_to_say_about_metrics(talking, program):
    told = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=talking.metrics(program), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_page_says_what_is_there_as_it_is(talking):
    live = shown(talking.metrics("gateway")) | shown(talking.metrics("room-service"))
    listed = page()
    assert set(live) <= set(listed), set(live) - set(listed)
    for name, (kind, labels) in live.items():
        assert listed[name][:2] == (kind, labels), name
    begun = {name for name, (_, _, since) in listed.items() if since == "start"}
    assert begun <= set(live), begun - set(live)


def test_what_is_scaled_by_is_there(talking):
    assert "parlor_gateway_sessions" in shown(talking.metrics("gateway"))


def test_what_was_said_is_counted(talking):
    (said,) = re.findall(r'^parlor_room_service_sends_total\{repeated="false"\} (\d+)', talking.metrics("room-service"), re.M)
    (lag,) = re.findall(r"^parlor_gateway_message_lag_seconds_count (\d+)", talking.metrics("gateway"), re.M)
    (steps,) = re.findall(
        r'^parlor_room_service_redis_seconds_count\{step="append"\} (\d+)', talking.metrics("room-service"), re.M
    )
    assert (said, lag, steps) == ("1", "1", "1")


@pytest.mark.parametrize(("title", "expression"), QUERIES, ids=[f"{title}: {expr}" for title, expr in QUERIES])
def test_each_query_of_the_dashboard_has_an_answer(talking, title, expression):
    expression = expression.replace("$__rate_interval", "10s")
    eventually(f"{title} shows something", lambda: talking.query(expression))
