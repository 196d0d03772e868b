"""Walks the contract with one generated client: walk.py DOCUMENT WALK LANGUAGE CLIENT…, where CLIENT… is a program that
calls the client's functions (see python/client.py). An answer is right when its status is documented, the generated
types decode it, and nothing that was answered is unknown to them, except what walk.json lists as additions."""

import http.server
import json
import math
import os
import re
import subprocess
import sys
import threading
import time

PATIENCE = 10  # seconds, for what happens after an answer


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes webhooks, gives tokens, and refuses where it is asked to."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": 60}).encode()
        self.send_response(400 if self.path.endswith("/refuses") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Wrong(Exception):
    pass


def at(value, place):
    """What is at `data.content.0.uid`; None where there is nothing."""
    for name in place.split("."):
        if isinstance(value, list):
            value = value[int(name)] if name.isdigit() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value


def filled(value, names):
    if isinstance(value, dict):
        return {name: filled(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, names) for item in value]
    return re.sub(r"\$\{(\w+)\}", lambda found: names[found[1]], value) if isinstance(value, str) else value


def unlike(wanted, decoded):
    """The first place that is not as wanted."""
    for place, value in (wanted or {}).items():
        found = at(decoded, place)
        if (found in (None, "", [], {})) if value == "*" else found != value:
            return f"`{place}` is {json.dumps(found)}, not {json.dumps(value)}"
    return None


def lost(answered, decoded, place=""):
    """Places whose value the generated types have not kept."""
    if isinstance(answered, dict) and isinstance(decoded, dict):
        for name, value in answered.items():
            if name in decoded:
                yield from lost(value, decoded[name], f"{place}.{name}".lstrip("."))
            elif value is not None:  # some types leave out what is null
                yield f"{place}.{name}".lstrip(".")
    elif isinstance(answered, list) and isinstance(decoded, list) and len(answered) == len(decoded):
        for value, kept in zip(answered, decoded):
            yield from lost(value, kept, f"{place}[]")
    elif isinstance(answered, float) and isinstance(decoded, (int, float)):
        if not math.isclose(answered, decoded, rel_tol=1e-6):
            yield place
    elif answered != decoded:
        yield place


class Walk:
    def __init__(self, document, walk, client, names):
        self.operations = {
            operation["operationId"]: (path, operation)
            for path, methods in document["paths"].items()
            for operation in methods.values()
        }
        self.steps, self.additions = walk["steps"], walk["additions"]
        self.client, self.names, self.walked = client, names, {}

    def ask(self, step):
        path, _ = self.operations[step["operation"]]
        own = step.get("path", {})
        request = {
            "operation": step["operation"],
            "path": [[name, filled(own.get(name, f"${{{name}}}"), self.names)] for name in re.findall(r"{(\w+)}", path)],
            "query": filled(step.get("query", {}), self.names),
            "key": self.names[step.get("as", "project")],
        }
        if "body" in step:
            request["body"] = filled(step["body"], self.names)
        self.client.stdin.write(json.dumps(request) + "\n")
        self.client.stdin.flush()
        line = self.client.stdout.readline()
        if not line:
            raise Wrong("the client has ended")
        return json.loads(line)

    def is_addition(self, step, place):
        return any(
            re.search(some["of"], step["operation"]) and f".{place}".endswith(f".{field}")
            for some in self.additions
            for field in some["fields"]
        )

    def check(self, step, answer):
        """What is wrong with an answer, whatever it says."""
        documented = self.operations[step["operation"]][1]["responses"]
        if "error" in answer:
            raise Wrong(answer["error"])
        expected = step.get("expect") or [int(status) for status in documented if status.startswith("2")]
        if answer["status"] not in expected:
            raise Wrong(f"not one of the statuses {expected}")
        if str(answer["status"]) not in documented:
            if "why" not in step:
                raise Wrong("not a documented status")
            return
        if answer.get("decoded") is None:
            raise Wrong("the generated types do not decode it")
        places = set(lost(json.loads(answer["body"]), answer["decoded"]))
        unknown = sorted(place for place in places if not self.is_addition(step, place))
        if unknown:
            raise Wrong(f"the document does not know {', '.join(unknown)}")

    def walk(self, step):
        until, deadline = filled(step.get("until"), self.names), time.monotonic() + PATIENCE
        while True:
            if "first" in step:
                self.walk(step["first"])
            answer = {}
            try:
                answer = self.ask(step)
                self.check(step, answer)
                waits_for = unlike(until, answer.get("decoded"))
                if waits_for and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                wrong = waits_for or unlike(filled(step.get("answer"), self.names), answer.get("decoded"))
                if wrong:
                    raise Wrong(wrong)
                for name, place in step.get("save", {}).items():
                    self.names[name] = at(answer["decoded"], place)
                    if not isinstance(self.names[name], str):
                        raise Wrong(f"`{place}` is no text to be saved as {name}")
            except Wrong as wrong:
                answered = f"{step['operation']} answered {answer.get('status', 'nothing')}"
                raise Wrong(f"{answered}: {wrong}\n    {answer.get('body', '')}") from None
            break
        self.walked.setdefault(step["operation"], []).append(answer["status"])

    def all(self):
        for step in self.steps:
            if step["operation"] not in self.operations:
                raise Wrong(f"{step['operation']} is not in the document")
            self.walk(step)
        # A refusal alone shows nothing, except where there is nothing else.
        left = sorted(
            operation
            for operation in self.operations
            if not any(200 <= status < 300 or status == 501 for status in self.walked.get(operation, []))
        )
        if left:
            raise Wrong(f"not walked: {', '.join(left)}")
        return sum(len(statuses) for statuses in self.walked.values())


def main(document, walk, language, *client):
    with open(document) as file:
        document = json.load(file)
    with open(walk) as file:
        walk = json.load(file)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    names = {
        "organisation": os.environ["ORGANISATION"],
        "personal": os.environ["PERSONAL_KEY"],
        "nobody": "CO.nobodynobodynobo.0000000000000000000000000000000000000000000000000000000000000000",
        "receiver": f"http://127.0.0.1:{receiver.server_port}/hook",
        "run": language,
    }
    started = time.monotonic()
    with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            walked = Walk(document, walk, process, names)
            steps = walked.all()
        except Wrong as wrong:
            sys.exit(f"{language}: {wrong}")
        finally:
            process.stdin.close()
    absent = [operation for operation, statuses in walked.walked.items() if set(statuses) == {501}]
    print(
        f"{language}: {len(walked.walked)} operations in {steps} steps, all as documented"
        f" ({len(absent)} are not part of this version: {', '.join(sorted(absent))}); {time.monotonic() - started:.1f} s"
    )


main(*sys.argv[1:])
