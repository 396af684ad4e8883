"""--metrics: the numbers of a run over HTTP are those of its report; what is asked wrongly is refused and disturbs nothing."""
import http.client
import json
import os
import re
import signal
import socket
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import flow                                                # noqa: E402
from flow import TILES, flowrun, holds, report, same, wait_for, write_graph   # noqa: E402

N = 300
SAMPLE = re.compile(r'^([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (\S+)$')


def graph(tmp):
    os.mkdir(tmp + "/out")
    return write_graph(tmp + "/graph.json", flow.chain(tmp + "/out", TILES + "/*.jpg"))


class Stopped:
    """A run whose sink stands still after the start, so that its numbers do."""

    def __init__(self, tmp, address="0"):
        self.run = flow.Run(graph(tmp), "--run", tmp + "/run", "--metrics", address)
        wait_for(lambda: self.run.p.poll() is not None or "metrics: " in self.run.said()[1], "the address")
        self.url = re.search(r"^metrics: (http://\S+/)", self.run.said()[1], re.M).group(1)
        wait_for(lambda: self.status()["status"] != "starting", "the start")
        self.sink = self.run.stages()["sink"][0]
        os.kill(self.sink, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.sink, signal.SIGCONT)
        return self.run.end()

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=flow.PATIENCE) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    def status(self):
        return json.loads(self.get("status.json")[1])

    def connection(self):
        host, port = re.match(r"http://(.*):(\d+)/", self.url).groups()
        return http.client.HTTPConnection(host.strip("[]"), int(port), timeout=flow.PATIENCE)


def samples(text):
    """Prometheus' text format, read as its description says: a HELP and a TYPE line before the samples of each name."""
    found, typed, helped = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
        elif line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            holds(name in helped and name not in typed and kind in ("gauge", "counter"), line)
            holds(name.endswith("_total") == (kind == "counter"), "counters end in _total: " + line)
            typed[name] = kind
        else:
            m = SAMPLE.match(line)
            holds(m and m.group(1) in typed and m.group(1) + (m.group(2) or "") not in found, "a sample: %r" % line)
            found[m.group(1) + (m.group(2) or "")] = float(m.group(3))
    return found


def numbers_are_those_of_the_run(tmp):
    s = Stopped(tmp)
    now = s.status()
    same([now["status"], now["tiles"], now["batches"], now["in_flight"] > 0], ["running", N, 19, True], "status.json")
    kind, text = s.get("metrics")
    same(kind, "text/plain; version=0.0.4; charset=utf-8", "Content-Type")
    got = samples(text)
    same(got["flowrun_tiles"], float(N), "tiles")
    same([got["flowrun_batches_in_flight"], got["flowrun_tiles_done_total"]], [now["in_flight"], now["done"]], "what stands still")
    same(got['flowrun_stage_instances{stage="decode"}'], 1.0, "instances")
    holds(any(n.startswith('flowrun_run_info{directory="%s",run="' % (tmp + "/run")) for n in got), "the run: %s" % text[:300])
    holds('flowrun_stage_counter_total{stage="sink",counter="duplicates"}' in got, "counters of a stage")
    kind, text = s.get("")
    holds(kind.startswith("text/html") and "status.json" in text, "the page")
    same(s.go_on()[0], 0, "status")
    end = report(tmp + "/run")
    same([end["status"], end["tiles"], end["done"], end["in_flight"], set(now) - set(end)], ["complete", N, N, 0, set()], "the report has the same keys")
    same(set(end["stages"]["decode"]), set(now["stages"]["decode"]), "of a stage, too")


def wrong_requests_disturb_nothing(tmp):
    s = Stopped(tmp, "127.0.0.1:0")
    c = s.connection()
    for method, path, want in (("GET", "/metric", 404), ("POST", "/metrics", 405), ("DELETE", "/", 405), ("HEAD", "/metrics", 200), ("GET", "/" + "x" * 4000, 404)):
        c.request(method, path, body=b"x" * 100 if method == "POST" else None)
        answer = c.getresponse()
        body = answer.read()
        same(answer.status, want, "%s %.20s" % (method, path))
        holds(method != "HEAD" or body == b"", "HEAD has no body")
        c.close()
    idle = [socket.create_connection((c.host, c.port)) for _ in range(40)]      # more than are let in; they say nothing
    for k, sock in enumerate(idle):
        if k % 2:
            try:
                sock.sendall(b"\x00\xff\r\n\r\n" * 3)
            except OSError:
                pass
    same(s.go_on()[0], 0, "the run")
    for sock in idle:
        sock.close()
    same(report(tmp + "/run")["done"], N, "tiles")


def an_address_that_can_not_be_had_is_refused(tmp):
    file = graph(tmp)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for address, want in ((str(taken.getsockname()[1]), "Address already in use"), ("99999", "want [HOST:]PORT"), ("localhost:", "want [HOST:]PORT"),
                              ("nowhere.invalid:80", "nowhere.invalid: "), (":9x", "want [HOST:]PORT")):
            _, _, err = flowrun(file, "--run", tmp + "/run", "--metrics", address, want=2)
            holds("--metrics" in err and want in err, "%s: %s" % (address, err))
            holds(not os.path.exists(tmp + "/run"), "nothing was started")


def only_the_loopback_unless_told(tmp):
    s = Stopped(tmp, ":0")
    holds(s.url.startswith("http://127.0.0.1:"), s.url)
    same(s.go_on()[0], 0, "status")
    s = Stopped(tmp + "/2" if os.mkdir(tmp + "/2") is None else "", "0.0.0.0:0")
    holds("(open to whoever reaches this address)" in s.run.said()[1], "said: %s" % s.run.said()[1])
    same(s.go_on()[0], 0, "status")


sys.exit(flow.run_cases([numbers_are_those_of_the_run, wrong_requests_disturb_nothing, an_address_that_can_not_be_had_is_refused, only_the_loopback_unless_told]))
