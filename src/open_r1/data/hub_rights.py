# SPDX-License-Identifier: Apache-2.0
"""May this user push there? Asked before hours of work, of models and of data sets alike."""

from huggingface_hub import HfApi

_ROLES_THAT_WRITE = ("admin", "write", "contributor")


def check_rights(api: HfApi, name: str, setting: str) -> str:
    """Return the full id of a repository that the token may write to.

    Args:
        api: Client with the token.
        name: Name of the repository, with or without a namespace.
        setting: What the user calls the name, for the message.

    Raises:
        ValueError: The token may only read, or the namespace is not the user's.
        LocalTokenNotFoundError, OfflineModeIsEnabled, httpx.HTTPError: The hub could not be asked.
    """
    account = api.whoami()
    token_role = account.get("auth", {}).get("accessToken", {}).get("role")
    if token_role == "read":
        raise ValueError(
            f"The hub token of {account['name']} may only read. Make one with write access in the settings of the "
            "hub and log in again (`hf auth login`, or HF_TOKEN)."
        )
    if "/" not in name:
        return f"{account['name']}/{name}"
    namespace = name.split("/")[0]
    roles = {org["name"]: org.get("roleInOrg") for org in account.get("orgs", [])} | {account["name"]: "admin"}
    if namespace not in roles:
        raise ValueError(
            f"`{setting}` is {name}, but {account['name']} is logged in, who belongs to {sorted(roles)}. Use one "
            "of these in its place, or log in as someone else."
        )
    if roles[namespace] is not None and roles[namespace] not in _ROLES_THAT_WRITE:
        raise ValueError(f"{account['name']} has the role {roles[namespace]!r} in {namespace} and may not push there.")
    return name


def describe(error: Exception) -> str:
    """Return the kind and the message of an error on one line; the hub's messages span several."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
