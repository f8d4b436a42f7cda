"""What the operator sees and touches: admin endpoints, metrics, the log line, rules edited under traffic."""

import json
import pathlib
import re
import shutil
import subprocess
import time

import httpx
import pytest
import stage
from conftest import HEAVY, PLACES, assert_forwarded, assert_local


def admin(front, path, method="GET", **more):
    return httpx.request(method, front.admin + path, timeout=10, **more)


def metrics(front):
    """name{labels} → value"""
    lines = admin(front, "/metrics").text.splitlines()
    return {k: float(v) for k, v in (line.rsplit(" ", 1) for line in lines if line and line[0] != "#")}


def total(samples, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(v for k, v in samples.items() if k.split("{")[0] == name and all(part in k for part in wanted))


def greet(front, text="hello", **more):
    return front.ask("/api/chat", json={"model": front.model, "stream": False, "messages": [{"role": "user", "content": text}]}, **more)


def test_health_and_readiness(front, orphan):
    for where in (front, orphan):
        assert admin(where, "/healthz").status_code == 200
        assert admin(where, "/readyz").status_code == 200, "greetings can be answered, so it is ready"
    assert "upstream" in admin(front, "/readyz").text and "classifier" in admin(front, "/readyz").text


def test_rules_tell_their_generation(front):
    rules = admin(front, "/rules").json()
    assert rules["generation"] >= 1 and rules["hash"] and rules["files"]


def test_explain_tells_the_decision_and_calls_no_upstream(scripted):
    before = total(metrics(scripted), "brainstem_requests_total")
    body = {"model": scripted.model, "messages": [{"role": "user", "content": "Привет!"}]}
    told = admin(scripted, "/explain?path=/api/chat", "POST", content=json.dumps(body)).json()
    assert told["category"] == "fast" and told["route"] == "local", told
    assert total(metrics(scripted), "brainstem_requests_total") == before


def test_metrics_count_what_happened(scripted):
    before = metrics(scripted)
    greet(scripted)
    greet(scripted, HEAVY[0])
    greet(scripted, "hello", headers={"x-brainstem-category": "coding"})
    # A request is counted when it is over, which is a moment after its last byte.
    until = time.time() + 2
    while total(after := metrics(scripted), "brainstem_requests_total") < total(before, "brainstem_requests_total") + 3:
        assert time.time() < until, "three requests were not counted"
        time.sleep(0.02)

    def grown(name, **labels):
        return total(after, name, **labels) - total(before, name, **labels)

    assert grown("brainstem_requests_total", route="local", category="fast", code="200") == 1
    assert grown("brainstem_requests_total", route="upstream") == 2
    assert grown("brainstem_requests_total", decided_by="hint", category="coding") == 1
    assert grown("brainstem_local_answers_total") == 1
    assert grown("brainstem_request_seconds_count") == 3
    for name in ("brainstem_rules_generation", "brainstem_build_info", "brainstem_inflight_requests", "brainstem_classifier_up"):
        assert any(key.split("{")[0] == name for key in after), name


def test_no_prompt_becomes_a_label(scripted):
    greet(scripted, "xyzzyplugh and other words that nobody else would ever say in this test suite")
    greet(scripted, headers={"x-brainstem-category": "xyzzyplugh"})
    scripted.ask("/xyzzyplugh", method="GET")
    assert "xyzzyplugh" not in admin(scripted, "/metrics").text
    assert "xyzzyplugh and other" not in pathlib.Path(scripted.log).read_text()


def test_promtool_likes_the_metrics(scripted):
    if not PLACES["promtool"]:
        pytest.skip("no promtool")
    text = admin(scripted, "/metrics").content
    checked = subprocess.run([PLACES["promtool"], "check", "metrics"], input=text, capture_output=True)
    assert checked.returncode == 0, checked.stdout.decode() + checked.stderr.decode()


UNDECIDED = [
    "my grandmother always told me that autumn evenings are good for long stories",
    "расскажи мне что-нибудь интересное про старые маяки на северном побережье",
]


def test_the_classifier_is_asked_and_leaves_its_line(scripted):
    until = time.time() + 60
    while not total(metrics(scripted), "brainstem_classifier_up"):
        if time.time() > until:
            pytest.skip("the classifier is not up: " + admin(scripted, "/readyz").text)
        time.sleep(0.2)
    before = total(metrics(scripted), "brainstem_classifier_requests_total")
    for text in UNDECIDED:
        assert_forwarded(greet(scripted, text).headers)
    assert total(metrics(scripted), "brainstem_classifier_requests_total") == before + len(UNDECIDED)
    line = r"\[MLX_LIGHT_CLASSIFY\] general -> \w+ goal_len=(\d+) duration_ms=\d+"
    lengths = re.findall(line, pathlib.Path(scripted.log).read_text())
    assert {str(len(text.split())) for text in UNDECIDED} <= set(lengths), lengths


def test_the_classifier_is_not_asked_outside_its_window(scripted):
    before = total(metrics(scripted), "brainstem_classifier_requests_total")
    greet(scripted, "four plain words here")
    greet(scripted, "word " * 26)
    assert total(metrics(scripted), "brainstem_classifier_requests_total") == before


@pytest.fixture
def own(scripted, tmp_path):
    """A brainstem with rules of its own, in front of the scripted upstream."""
    rules = tmp_path / "rules"
    shutil.copytree(stage.ROOT / "rules", rules)
    with stage.Brainstem("brainstem-own", scripted.upstream, "--rules", str(rules)) as process:
        yield process, rules


def within(seconds, check):
    until = time.time() + seconds
    while not check():
        assert time.time() < until, "it did not happen in time"
        time.sleep(0.02)


def test_rules_are_edited_under_traffic(own):
    process, rules = own

    def category(text):
        body = {"model": "scripted", "stream": False, "messages": [{"role": "user", "content": text}]}
        reply = httpx.post(f"{process.url}/api/chat", json=body)
        assert reply.status_code == 200
        return reply.headers["x-brainstem-category"]

    def told():
        return httpx.get(f"{process.admin}/rules").json()

    assert category("frobnicate the gizmo") != "coding"
    rule = '[[rule]]\nname = "e2e"\ncategory = "coding"\npriority = 99\nany = ["frobnicate"]\n'
    # As vim does it: beside it, then over it.
    (rules / "90-e2e.toml.new").write_text(rule)
    (rules / "90-e2e.toml.new").rename(rules / "90-e2e.toml")
    within(1.5, lambda: category("frobnicate the gizmo") == "coding")
    generation = told()["generation"]

    # Broken half-way: the last good set goes on, and the place is named.
    (rules / "90-e2e.toml").write_text('[[rule]]\nname = "e2e"\ncategory = "codding"\nany = ["frob')
    within(1.5, lambda: "90-e2e.toml" in json.dumps(told()["last_error"]))
    assert category("frobnicate the gizmo") == "coding" and told()["generation"] == generation
    assert total(metrics(process), "brainstem_rules_reloads_total", result="refused") >= 1

    (rules / "90-e2e.toml").unlink()
    within(1.5, lambda: category("frobnicate the gizmo") != "coding")
    assert told()["generation"] > generation and not told()["last_error"]


def test_an_answer_is_edited_under_traffic(own):
    process, rules = own

    def said():
        body = {"model": "scripted", "stream": False, "messages": [{"role": "user", "content": "xyzzy"}]}
        return httpx.post(f"{process.url}/api/chat", json=body).json()["message"]["content"]

    assert said() == "Scripted words from upstream."
    (rules / "answers" / "e2e.toml").write_text('[[answer]]\nname = "e2e"\nexamples = ["xyzzy"]\nen = "Nothing happens, {{ model }}."\n')
    within(1.5, lambda: said() == "Nothing happens, scripted.")


def test_a_taken_port_is_one_clear_line(front):
    port = front.proxy.rsplit(":", 1)[1]
    command = [stage.binary(), "serve", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{stage.free_port()}"]
    ran = subprocess.run(command, cwd=stage.ROOT, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 1 and port in ran.stderr and "panicked" not in ran.stderr, ran.stderr


def test_check_is_good_for_what_ships():
    ran = subprocess.run([stage.binary(), "check"], cwd=stage.ROOT, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_greeting_stays_local_while_the_upstream_is_busy(scripted):
    with httpx.stream(
        "POST", scripted.proxy + "/api/chat", json={"model": "scripted-endless", "messages": [{"role": "user", "content": HEAVY[0]}]}
    ) as busy:
        next(busy.iter_lines())
        assert_local(greet(scripted).headers)
