#!/usr/bin/env python3
"""What the measured proxies forward to, on 127.0.0.1: nginx that answers at once, for small asks, and a server
that reads every byte first, for large ones (nginx would answer those before it has them). Stdlib only.

    upstreams.py reader --port 9101
"""
import argparse
import asyncio
import gc
import re

REPLY = (b'{"model":"m","created_at":"2026-01-02T03:04:05.678901234Z","message":{"role":"assistant","content":"Four."},'
         b'"done":true,"done_reason":"stop","total_duration":1200000000,"load_duration":8000000,"prompt_eval_count":9,'
         b'"prompt_eval_duration":100000000,"eval_count":2,"eval_duration":90000000}')
TAGS = b'{"models":[{"name":"m:latest","model":"m:latest"}]}'

LIMITS = """worker_processes 1; daemon off; worker_rlimit_nofile 8192; pid {work}/pid; error_log {work}/error;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {work}/1; proxy_temp_path {work}/2; fastcgi_temp_path {work}/3; uwsgi_temp_path {work}/4;
  scgi_temp_path {work}/5;
"""


def nginx_answering(port, work):
    """Its config: every ask gets the same reply, its body unread."""
    return LIMITS.format(work=work) + f"""  default_type application/json;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{ return 200 '{REPLY.decode()}'; }}
    location = /api/tags {{ return 200 '{TAGS.decode()}'; }}
  }}
}}
"""


def nginx_forwarding(port, upstream, work):
    """Its config: a plain reverse proxy that, like the others here, keeps connections and stores nothing."""
    return LIMITS.format(work=work) + f"""
  upstream up {{ server 127.0.0.1:{upstream} max_fails=0; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""


class Reader(asyncio.BufferedProtocol):
    """Counts a body by its Content-Length, then answers. One request at a time on a connection."""
    room = memoryview(bytearray(1 << 20))

    def connection_made(self, transport):
        self.transport, self.head, self.missing, self.reply = transport, b"", 0, REPLY

    def get_buffer(self, _):
        return self.room

    def buffer_updated(self, count):
        if self.missing == 0:
            self.head += bytes(self.room[:count])
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = re.search(rb"\r\ncontent-length: *(\d+)", self.head[:end].lower())
            self.missing, count = int(length[1]) if length else 0, len(self.head) - end - 4
            self.reply = TAGS if b" /api/tags " in self.head[:end] else REPLY
            self.head = b""
        self.missing -= count
        if self.missing == 0:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                                 % (len(self.reply), self.reply))


async def reader(port):
    gc.freeze()
    server = await asyncio.get_running_loop().create_server(Reader, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("what", choices=["reader"])
    flags.add_argument("--port", type=int, default=9101)
    flags = flags.parse_args()
    try:
        asyncio.run(reader(flags.port))
    except KeyboardInterrupt:
        pass
