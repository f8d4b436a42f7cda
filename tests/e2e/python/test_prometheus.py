"""deploy/prometheus and deploy/grafana as they ship: promtool likes them, a real Prometheus scrapes a real brainstem with
them, and every query of the dashboard finds data there. Grafana itself is in none of the registries that the tests may use;
its dashboard is held against the structure that Grafana reads, and each of its queries against Prometheus."""

import json
import math
import re
import shutil
import subprocess
import time

import httpx
import pytest
import stage
from conftest import HEAVY, PLACES

DEPLOY = stage.ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
QUESTION = "my grandmother always told me that autumn evenings are good for long stories"
CODING = "write a python function that sorts a list of numbers"

promtool = pytest.mark.skipif(not PLACES["promtool"], reason="no promtool")


def tool(*arguments):
    ran = subprocess.run([PLACES["promtool"], *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@promtool
def test_promtool_likes_the_config():
    tool("check", "config", DEPLOY / "prometheus/prometheus.yml")
    # Its rules are mounted beside it by compose.yaml.
    tool("check", "config", "--syntax-only", DEPLOY / "docker/prometheus.yml")


@promtool
def test_promtool_likes_the_rules():
    tool("check", "rules", *sorted((DEPLOY / "prometheus/rules").glob("*.yml")))


@promtool
def test_the_alerts_fire_when_they_should():
    tool("test", "rules", *sorted((DEPLOY / "prometheus/tests").glob("*.yml")))


def test_each_alert_has_a_test_that_makes_it_fire():
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "prometheus/rules/alerts.yml").read_text())
    tested = (DEPLOY / "prometheus/tests/alerts.yml").read_text()
    fired = re.findall(r"alertname: (\w+)\n +exp_alerts:", tested)
    assert alerts and sorted(alerts) == sorted(set(fired))


# === The dashboard's structure


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_dashboard_is_what_grafana_reads(path):
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] and dashboard["title"] and dashboard["schemaVersion"] >= 36 and "id" not in dashboard
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    taken = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24 and at["w"] > 0 and at["h"] > 0, panel["title"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
    for panel in panels(dashboard):
        assert panel["title"] and panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) >= 1, panel["title"]
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval", "__range"}
            assert used <= names, f"{panel['title']}: no variable {used - names}"
            assert 'instance=~"$instance"' in target["expr"], f"{panel['title']} shows other instances, too"


def test_the_provisioning_points_at_what_ships():
    provider = (DEPLOY / "grafana/provisioning/dashboards/brainstem.yml").read_text()
    folder = re.search(r"path: (\S+)", provider).group(1)
    compose = (DEPLOY / "docker/compose.yaml").read_text()
    assert f"../grafana/dashboards:{folder}:ro" in compose and "../grafana/provisioning:/etc/grafana/provisioning:ro" in compose


# === A real Prometheus


CONFIG = """
[upstream.gone]
url = "http://127.0.0.1:{gone}"
poll = "1s"

[upstream.several]
urls = ["{scripted}", "http://127.0.0.1:{gone}"]
poll = "1s"

[categories.reasoning]
upstream = "gone"

[categories.data_question]
upstream = "several"

[experiment]
enabled = true
classifier_share = 0.5

[log]
decisions = "{decisions}"
"""


@pytest.fixture(scope="module")
def seen(scripted, tmp_path_factory):
    """A Prometheus that has scraped a brainstem with all kinds of traffic; call it with a query."""
    if not PLACES["prometheus"]:
        pytest.skip("no prometheus")
    here = tmp_path_factory.mktemp("prometheus")
    config = here / "brainstem.toml"
    config.write_text(CONFIG.format(scripted=scripted.upstream, gone=stage.free_port(), decisions=here / "decisions.jsonl"))
    # Rules of its own, because one will be broken.
    shutil.copytree(stage.ROOT / "rules", here / "rules")
    with stage.Brainstem("brainstem-scraped", scripted.upstream, "--config", str(config), "--rules", str(here / "rules")) as proxy:
        shutil.copytree(DEPLOY / "prometheus/rules", here / "prometheus/rules")
        shipped = (DEPLOY / "prometheus/prometheus.yml").read_text()
        own = shipped.replace("127.0.0.1:9464", proxy.admin.removeprefix("http://")).replace("_interval: 15s", "_interval: 1s")
        assert own.count(": 1s") == 2 and own != shipped
        (here / "prometheus/prometheus.yml").write_text(own)
        url = f"http://127.0.0.1:{stage.free_port()}"
        command = [PLACES["prometheus"], f"--config.file={here}/prometheus/prometheus.yml", f"--storage.tsdb.path={here}/data"]
        command += [f"--web.listen-address={url.removeprefix('http://')}", "--log.level=warn"]
        with stage.Process("prometheus", command, f"{url}/-/ready"):

            def query(text):
                reply = httpx.get(f"{url}/api/v1/query", params={"query": text}, timeout=30).json()
                assert reply["status"] == "success", f"{text}: {reply.get('error')}"
                return reply["data"]["result"]

            def until(text):
                deadline = time.time() + 60
                while not query(text):
                    assert time.time() < deadline, f"never true: {text}"
                    time.sleep(0.2)

            until("brainstem_upstream_up == 1 and on (instance) brainstem_classifier_up == 1")
            # Before and after a scrape: a rate needs two samples, and a series begins with its first event.
            traffic(proxy)
            until("brainstem_local_answers_total > 0 and on (instance) brainstem_rules_problems > 0")
            traffic(proxy)
            until("sum(increase(brainstem_category_changes_total[1m])) > 0")
            until("count(brainstem_decision_log_lines_total) and on () count(instance:brainstem_overhead_seconds:p99_5m)")
            query.url = url
            yield query


def traffic(proxy):
    def ask(text, **more):
        body = {"model": "scripted", "stream": False, "messages": [{"role": "user", "content": text}]}
        return httpx.post(f"{proxy.url}/api/chat", json=body, timeout=60, **more)

    for text in ["Привет!", "спасибо, пока", "fix this stack trace", *HEAVY]:
        ask(text)
    for n in range(8):
        ask(f"{QUESTION} {n}")
        ask(f"{CODING} {n}")
    ask("hello", headers={"x-brainstem-category": "reasoning"})
    ask("hello", headers={"x-brainstem-category": "data_question"})
    ask("hello", headers={"host": "evil.example"})
    body = {"model": "scripted", "messages": [{"role": "user", "content": "hello"}], "format": "json", "stream": False}
    httpx.post(f"{proxy.url}/api/chat", json=body, timeout=60)
    httpx.get(f"{proxy.url}/api/tags")
    rules = stage.pathlib.Path(proxy.process.args[proxy.process.args.index("--rules") + 1])
    (rules / "99-broken.toml").write_text("[[rule]\n")


def test_it_is_scraped_with_the_config_that_ships(seen):
    assert [sample["value"][1] for sample in seen('up{job="brainstem"}')] == ["1"]
    health = {rule["name"]: rule["health"] for rule in rules(seen)}
    assert len(health) >= 15 and set(health.values()) == {"ok"}, health


def rules(seen):
    groups = httpx.get(f"{seen.url}/api/v1/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alerts_see_what_is_wrong(seen):
    def state(alert):
        return next(rule["state"] for rule in rules(seen) if rule["name"] == alert)

    # Pending, because they wait some minutes before they wake anybody.
    for alert in ("BrainstemUpstreamDown", "BrainstemReloadFailing"):
        assert state(alert) in ("pending", "firing"), alert
    for alert in ("BrainstemDown", "BrainstemClassifierDown", "BrainstemDecisionLogLosesLines", "BrainstemEngineRestarts"):
        assert state(alert) == "inactive", alert


def test_every_recording_has_a_value(seen):
    recorded = [rule["name"] for rule in rules(seen) if rule["type"] == "recording"]
    assert recorded
    for name in recorded:
        assert any(finite(sample) for sample in seen(name)), name


def finite(sample):
    return math.isfinite(float(sample["value"][1]))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_the_dashboard_returns_data(seen, path):
    dashboard = json.loads(path.read_text())
    empty = []
    for panel in panels(dashboard):
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "5m").replace("$instance", ".*")
            if not any(finite(sample) for sample in seen(text)):
                empty.append(f"{panel['title']}: {text}")
    assert not empty, "\n".join(empty)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
            assert all(label in sample["metric"] for sample in seen(metric)) and seen(metric)
    for annotation in dashboard["annotations"]["list"]:
        seen(annotation["expr"].replace("$instance", ".*"))
