#!/usr/bin/env python3
"""An Ollama that answers from a script: all six dialects, streamed and not, in the newest server's wire format.

Standard library only. Runs as `scripted_upstream.py [PORT]` (0 or nothing: any free port) and prints its address.
The request's model says what happens:

  scripted          three pieces at once
  scripted-slow     ten pieces, 50 ms apart, each one the time at which it was sent
  scripted-endless  a piece every 50 ms until the client leaves
  scripted-broken   two pieces, then an error in the middle of the stream
  scripted-cut      two pieces, then the connection is closed without the last chunk
  scripted-gone     the connection is closed before any answer
  scripted-busy     503, as Ollama says it
  anything else     404 in the dialect of the path

What it received under the header `x-e2e: ID` is told by GET /scripted/ID.
"""

import hashlib
import json
import select
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

TEXT = ["Scripted", " words from", " upstream."]
MODELS = ["scripted:latest", "scripted-slow:latest", "scripted-endless:latest", "scripted-broken:latest"]
FAULTS = ["scripted-cut", "scripted-gone", "scripted-busy"]  # in no list of models
BUSY = "server busy, please try again.  maximum pending requests exceeded"
PIECES, PAUSE = 10, 0.05
CREATED, AT = 1763864441, "2026-11-23T02:20:41.123456789Z"
METRICS = {
    "total_duration": 1250000,
    "load_duration": 210000,
    "prompt_eval_count": 26,
    "prompt_eval_duration": 430000,
    "eval_count": 9,
    "eval_duration": 610000,
}
USAGE = {"prompt_tokens": 26, "completion_tokens": 9, "total_tokens": 35}
LOAD = {"/api/generate": "prompt", "/api/chat": "messages"}


def dumps(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


class Gone(Exception):
    """The client closed the connection while it was being answered."""


# === the dialects: whole(model, text, body) and stream(model, pieces, body), the latter yielding wire text


class Generate:
    stream_by_default, content_type = True, "application/x-ndjson"

    def part(self, model, text, **more):
        return {"model": model, "created_at": AT, "response": text, "done": False, **more}

    def whole(self, model, text, body):
        return dumps(self.part(model, text) | {"done": True, "done_reason": "stop", **METRICS})

    def stream(self, model, pieces, body):
        for piece in pieces:
            yield dumps(self.part(model, piece)) + "\n"
        yield self.whole(model, "", body) + "\n"

    def error(self, message):
        return dumps({"error": message}) + "\n"


class Chat(Generate):
    def part(self, model, text, **more):
        message = {"role": "assistant", "content": text}
        return {"model": model, "created_at": AT, "message": message, "done": False, **more}


class Sse:
    stream_by_default, content_type = False, "text/event-stream"

    def error(self, message):
        return ""  # the real one just ends: no finish chunk, no [DONE]


class ChatCompletions(Sse):
    def part(self, model, choices, **more):
        return {
            "id": "chatcmpl-637",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model,
            "system_fingerprint": "fp_ollama",
            "choices": choices,
            **more,
        }

    def whole(self, model, text, body):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return dumps(self.part(model, [choice], usage=USAGE) | {"object": "chat.completion"}) + "\n"

    def stream(self, model, pieces, body):
        role = {"role": "assistant"}
        for piece in pieces:
            choice = {"index": 0, "delta": {**role, "content": piece}, "finish_reason": None}
            role = {}
            yield "data: " + dumps(self.part(model, [choice])) + "\n\n"
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield "data: " + dumps(self.part(model, [choice])) + "\n\n"
        if (body.get("stream_options") or {}).get("include_usage"):
            yield "data: " + dumps(self.part(model, [], usage=USAGE)) + "\n\n"
        yield "data: [DONE]\n\n"


class Completions(Sse):
    def part(self, model, choices, **more):
        return {
            "id": "cmpl-482",
            "object": "text_completion",
            "created": CREATED,
            "choices": choices,
            "model": model,
            "system_fingerprint": "fp_ollama",
            **more,
        }

    def whole(self, model, text, body):
        whole = self.part(model, [], usage=USAGE)
        del whole["choices"]  # stands elsewhere in the streamed form
        reply = {key: whole.pop(key) for key in ("id", "object", "created", "model", "system_fingerprint")}
        return dumps({**reply, "choices": [{"text": text, "index": 0, "finish_reason": "stop"}], **whole}) + "\n"

    def stream(self, model, pieces, body):
        asked = (body.get("stream_options") or {}).get("include_usage")
        more = {"usage": dict.fromkeys(USAGE, 0)} if asked else {}
        for piece in pieces:
            choice = {"text": piece, "index": 0, "finish_reason": None}
            yield "data: " + dumps(self.part(model, [choice], **more)) + "\n\n"
        choice = {"text": "", "index": 0, "finish_reason": "stop"}
        yield "data: " + dumps(self.part(model, [choice], **more)) + "\n\n"
        if asked:
            yield "data: " + dumps(self.part(model, [], usage=USAGE)) + "\n\n"
        yield "data: [DONE]\n\n"


def event(kind, data):
    return f"event: {kind}\ndata: {dumps(data)}\n\n"


class Messages(Sse):
    def message(self, model, **more):
        return {"id": "msg_0f3a9c1d2b4e5f6a7b8c9d0e", "type": "message", "role": "assistant", "model": model, **more}

    def whole(self, model, text, body):
        content = [{"type": "text", "text": text}]
        usage = {"input_tokens": 26, "output_tokens": 9}
        return dumps(self.message(model, content=content, stop_reason="end_turn", usage=usage)) + "\n"

    def stream(self, model, pieces, body):
        def told(kind, **data):
            return event(kind, {"type": kind, **data})

        start = self.message(model, content=[], usage={"input_tokens": 26, "output_tokens": 0})
        yield told("message_start", message=start)
        yield told("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for piece in pieces:
            yield told("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        yield told("content_block_stop", index=0)
        usage = {"input_tokens": 26, "output_tokens": 9}
        yield told("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
        yield told("message_stop")


class Responses(Sse):
    def response(self, model, status, output, usage):
        return {
            "id": "resp_271828",
            "object": "response",
            "created_at": CREATED,
            "completed_at": CREATED + 1 if status == "completed" else None,
            "status": status,
            "incomplete_details": None,
            "model": model,
            "previous_response_id": None,
            "instructions": None,
            "output": output,
            "error": None,
            "tools": [],
            "tool_choice": "auto",
            "truncation": "disabled",
            "parallel_tool_calls": True,
            "text": {"format": {"type": "text"}},
            "top_p": 1,
            "presence_penalty": 0,
            "frequency_penalty": 0,
            "top_logprobs": 0,
            "temperature": 1,
            "reasoning": None,
            "usage": usage,
            "max_output_tokens": None,
            "max_tool_calls": None,
            "store": False,
            "background": False,
            "service_tier": "default",
            "metadata": {},
            "safety_identifier": None,
            "prompt_cache_key": None,
        }

    def part(self, text):
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def item(self, status, content):
        return {"id": "msg_314159", "type": "message", "status": status, "role": "assistant", "content": content}

    def completed(self, model, text):
        usage = {
            "input_tokens": 26,
            "output_tokens": 9,
            "total_tokens": 35,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        return self.response(model, "completed", [self.item("completed", [self.part(text)])], usage)

    def whole(self, model, text, body):
        return dumps(self.completed(model, text)) + "\n"

    def stream(self, model, pieces, body):
        number = count()

        def told(kind, **data):
            data |= {"type": kind, "sequence_number": next(number)}
            return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'), sort_keys=True)}\n\n"

        place = {"item_id": "msg_314159", "output_index": 0, "content_index": 0}
        started = self.response(model, "in_progress", [], None)
        yield told("response.created", response=started)
        yield told("response.in_progress", response=started)
        yield told("response.output_item.added", output_index=0, item=self.item("in_progress", []))
        yield told("response.content_part.added", **place, part=self.part(""))
        text = ""
        for piece in pieces:
            text += piece
            yield told("response.output_text.delta", **place, delta=piece, logprobs=[])
        yield told("response.output_text.done", **place, text=text, logprobs=[])
        yield told("response.content_part.done", **place, part=self.part(text))
        yield told("response.output_item.done", output_index=0, item=self.item("completed", [self.part(text)]))
        yield told("response.completed", response=self.completed(model, text))


DIALECTS = {
    "/api/generate": Generate(),
    "/api/chat": Chat(),
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/messages": Messages(),
    "/v1/responses": Responses(),
}


def error_body(path, kind, message):
    if path.startswith("/v1/messages"):
        error = {"type": kind, "message": message}
        return dumps({"type": "error", "error": error, "request_id": "req_" + "0" * 24}) + "\n"
    if path.startswith("/v1/"):
        return dumps({"error": {"message": message, "type": kind, "param": None, "code": None}}) + "\n"
    return dumps({"error": message})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "scripted", ""

    def log_message(self, *_):
        pass

    # --- reading

    def body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def handle_any(self):
        if self.path.startswith("/scripted/"):
            return self.reply(200, dumps(self.server.seen.get(self.path[len("/scripted/") :])))
        body = self.body()
        self.record = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "outcome": "unfinished",
            "ended": None,
        }
        if mark := self.headers.get("x-e2e"):
            self.server.seen[mark] = self.record
        try:
            self.answer(body)
            self.record["outcome"] = "answered"
        except (Gone, BrokenPipeError, ConnectionResetError):
            self.record["outcome"] = "client left"
            self.close_connection = True
        self.record["ended"] = time.time()

    do_GET = do_HEAD = do_POST = do_DELETE = do_OPTIONS = do_PUT = handle_any

    # --- answering

    def reply(self, status, text, content_type="application/json; charset=utf-8"):
        data = text.encode()
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def answer(self, raw):
        path = self.path.split("?")[0]
        if path == "/":
            return self.reply(200, "Ollama is running", "text/plain; charset=utf-8")
        if path == "/api/version":
            return self.reply(200, dumps({"version": "0.33.0"}))
        if path == "/api/ps":
            return self.reply(200, dumps({"models": []}))
        if path == "/api/tags":
            details = {"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"]}
            details |= {"parameter_size": "134.52M", "quantization_level": "F16"}
            entry = {"modified_at": AT, "size": 270000000, "digest": "0" * 64, "details": details}
            return self.reply(200, dumps({"models": [{"name": name, "model": name, **entry} for name in MODELS]}))
        if path == "/v1/models":
            data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "library"} for name in MODELS]
            return self.reply(200, dumps({"object": "list", "data": data}) + "\n", "application/json")
        if path.startswith("/api/blobs/"):
            return self.reply(201, "", None)
        dialect = DIALECTS.get(path)
        if dialect is None or self.command != "POST":
            return self.reply(404, "404 page not found", "text/plain")
        self.answer_ask(path, dialect, raw)

    def answer_ask(self, path, dialect, raw):
        plain = "application/json; charset=utf-8" if path.startswith("/api/") else "application/json"
        if not raw:
            return self.reply(400, error_body(path, "invalid_request_error", "missing request body"), plain)
        try:
            body = json.loads(raw)
            model = body.get("model", "")
        except (ValueError, AttributeError) as reason:
            return self.reply(400, error_body(path, "invalid_request_error", str(reason)), plain)
        if model == "scripted-busy":
            return self.reply(503, error_body(path, "overloaded_error", BUSY), plain)
        if model == "scripted-gone":
            self.close_connection = True
            return None
        if model not in FAULTS and model.removesuffix(":latest") + ":latest" not in MODELS:
            return self.reply(404, error_body(path, "not_found_error", f"model '{model}' not found"), plain)
        if path in LOAD and not body.get(LOAD[path]):
            why = "unload" if body.get("keep_alive") == 0 else "load"
            return self.reply(200, dumps(dialect.part(model, "") | {"done": True, "done_reason": why}), plain)
        streamed = body.get("stream")
        if not (dialect.stream_by_default if streamed is None else streamed):
            return self.reply(200, dialect.whole(model, "".join(TEXT), body), plain)

        self.send_response(200)
        self.send_header("Content-Type", dialect.content_type)
        if path in ("/v1/messages", "/v1/responses"):
            self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for text in dialect.stream(model, self.pieces(model.removesuffix(":latest")), body):
                self.chunk(text)
        except ValueError as reason:
            if model == "scripted-cut":
                self.close_connection = True
                return None
            self.chunk(dialect.error(str(reason)))
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text):
        if text:
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def pieces(self, model):
        if model == "scripted":
            yield from TEXT
        elif model in ("scripted-broken", "scripted-cut"):
            yield from TEXT[:2]
            raise ValueError("the script breaks off here")
        else:
            for _ in range(PIECES) if model == "scripted-slow" else count():
                yield f"{time.time():.6f} "
                self.pause()

    def pause(self):
        readable, _, _ = select.select([self.connection], [], [], PAUSE)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise Gone
        if readable:
            time.sleep(PAUSE)


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.seen = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        pass  # a client that leaves is what some tests are about

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self


if __name__ == "__main__":
    server = Server(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(server.url, flush=True)
    server.serve_forever()
