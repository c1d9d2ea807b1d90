"""deploy/observability: alerts that are heard in time, pages that say what to do, a dashboard of what is counted."""

import json
import re
import subprocess

import promql_parser
import pytest
import yaml

from parlor import DEPLOY, ROOT, default, metrics, tool

FOLDER = DEPLOY / "observability"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "dashboards" / "parlor.json").read_text())


def names_in(expression: str) -> set[str]:
    """The metrics that a query asks for. Grafana's own variables are put in first."""
    expression = expression.replace("$__rate_interval", "5m")
    promql_parser.parse(expression)
    # A histogram is asked for by its parts.
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bparlor_[a-z_]+", expression)}


@pytest.mark.parametrize("verb", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts.test.yaml")], ids=" ".join)
def test_promtool_has_nothing_to_say(verb):
    told = subprocess.run([tool("promtool"), *verb], cwd=FOLDER, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_asks_for_what_is_counted_and_has_a_test_and_a_page(rule):
    assert names_in(rule["expr"]) <= metrics(), names_in(rule["expr"]) - metrics()
    tried = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text())["tests"]
    asked = [each for test in tried for each in test["alert_rule_test"] if each["alertname"] == rule["alert"]]
    assert any(each["exp_alerts"] for each in asked) and any(not each["exp_alerts"] for each in asked)
    page = (ROOT / rule["annotations"]["runbook"]).read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    assert all(f"**{part}.**" in page for part in ("Symptom", "Check", "Act"))


def test_each_page_has_an_alert():
    pages = {page.stem for page in (FOLDER / "runbooks").iterdir()}
    assert pages == {rule["alert"] for rule in RULES}


def test_pages_name_what_exists():
    for page in (FOLDER / "runbooks").iterdir():
        named = set(re.findall(r"\bparlor_[a-z_]+", page.read_text()))
        assert named <= metrics(), page


def test_nearly_full_is_nearly_all_that_a_gateway_takes():
    (rule,) = (each for each in RULES if each["alert"] == "ParlorNearlyFull")
    threshold = int(rule["expr"].split(">")[1])
    assert 0.8 <= threshold / int(default("PARLOR_GATEWAY_MAX_SESSIONS")) < 1


def test_the_dashboard_shows_what_is_counted():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource"}
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            names = names_in(target["expr"])
            assert names <= metrics(), f"{panel['title']}: {names - metrics()}"


def test_panels_do_not_lie_on_each_other():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
