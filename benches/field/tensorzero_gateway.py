"""TensorZero's gateway as its Python package carries it, on a loopback port of its own choice.

    tensorzero_gateway.py CONFIG FILE      writes its address into FILE

The call is private, but what it starts is the real gateway with its real HTTP.
"""
import signal
import sys

from tensorzero import tensorzero

config, written = sys.argv[1:]
gateway = tensorzero._start_http_gateway(config_file=config, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
with open(written, "w") as file:
    file.write(gateway.base_url)
signal.pause()
