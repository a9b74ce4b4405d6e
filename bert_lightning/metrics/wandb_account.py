"""Whether W&B can be used: the server, the key of an account, and why a server refuses it."""

import netrc
import os
import threading
from urllib.parse import urlparse

import requests

ANSWER_SECONDS = 5.0
"""Longest time that the server may take for its first answer."""


def wandb_server() -> str:
    """Return the address of the server that W&B talks to."""
    import wandb

    return os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url


def wandb_key() -> str | None:
    """Return the key that W&B finds: in the environment, or in the file that `wandb login` writes; None without one."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    # Older versions of wandb wrote the key of the public server under another name.
    public = [] if os.environ.get("WANDB_BASE_URL") else ["api.wandb.ai"]
    try:
        kept = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return None
    found = (kept.authenticators(host) for host in (urlparse(wandb_server()).netloc, *public))
    return next((entry[2] for entry in found if entry), None)


def refusal(address: str, key: str, seconds: float = ANSWER_SECONDS) -> str | None:
    """Return why a server cannot be used: it does not answer, or not to this key. None if it may be tried.

    Without a network even the name of the server may take long to be found, and nothing bounds that search, so it is
    left alone after twice the time.

    Args:
        address: The server's URL.
        key: The key of an account.
        seconds: Longest time to connect, and to wait for the answer.
    """
    said: list[str | None] = []
    asking = threading.Thread(target=lambda: said.append(_refusal(address, key, seconds)), daemon=True)
    asking.start()
    asking.join(2 * seconds)
    return said[0] if said else f"{address} does not answer in {2 * seconds:.0f} s"


def _refusal(address: str, key: str, seconds: float) -> str | None:
    question = {"query": "{ viewer { id } }"}
    try:
        answer = requests.post(f"{address}/graphql", json=question, auth=("api", key), timeout=seconds)
    except requests.RequestException as error:
        return f"{address} does not answer ({type(error).__name__})"
    return f"{address} does not take the key" if answer.status_code in (401, 403) else None
