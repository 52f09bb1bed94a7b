# SPDX-License-Identifier: Apache-2.0
"""A hub on this machine: the part of the wire contract that `huggingface_hub` 1.33 calls for a push.

Endpoints, as seen in the client's requests: whoami-v2, repos/create, models/<id>[/revision], commits, refs, branch,
validate-yaml, preupload, LFS batch with upload and verify, commit (ndjson), tree, and HEAD and GET resolve. Data sets
have the same ones; their repositories are in `repos` as `datasets/<id>`.
"""

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

FIRST_COMMIT, SECOND_COMMIT = "1" * 40, "2" * 40
ERROR_CODES = {
    "Repository not found": "RepoNotFound",
    "Revision not found": "RevisionNotFound",
    "Entry not found": "EntryNotFound",
}
FILE_URL = "/{repo_id}/resolve/{revision}/{filename}"
TOKENS = {"hf_write": "write", "hf_read": "read"}


@dataclass
class Branch:
    start: str
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@dataclass
class Repo:
    private: bool
    # A repository that someone has already pushed to: main has moved on from the first commit.
    branches: dict[str, Branch] = field(default_factory=lambda: {"main": Branch(SECOND_COMMIT)})


class Hub(ThreadingHTTPServer):
    """The server with its state.

    `refuse` names branches whose commits fail, `fail_next` is how many commits fail with status 503, `gate` holds
    every preupload back while it is cleared. With `uses_lfs`, weights and parquet files go by the LFS protocol, to a
    client that runs with HF_HUB_DISABLE_XET=1; otherwise inside the commit.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Contract)
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.refuse: set[str] = set()
        self.fail_next = 0
        self.uses_lfs = False
        self.preupload_seen, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.gate.set()
        self.shutdown()
        self.server_close()


class Contract(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args) -> None:
        """Stay silent; requests are in `server.requests`."""

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.server.requests.append(f"{self.command} {urlsplit(self.path).path}")
        role = TOKENS.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if path[0] == "lfs":
            self.send(self.put_object(path[1:], body))
        elif role is None:
            self.send({"error": "Invalid username or password."}, 401)
        elif path[0] == "api" and path[1] not in ("models", "datasets"):
            self.send(*self.general(path[1:], body, role))
        elif path[0] == "api":
            prefix = "datasets/" if path[1] == "datasets" else ""
            self.send(*self.of_repo(prefix + "/".join(path[2:4]), path[4:], body))
        elif path[-3:] == ["lfs", "objects", "batch"]:
            self.send(
                {"transfer": "basic", "objects": [self.lfs_object(item) for item in json.loads(body)["objects"]]}
            )
        else:
            place = path.index("resolve")
            self.resolve("/".join(path[:place]), path[place + 1], "/".join(path[place + 2 :]))

    def send(self, reply, status: int = 200, **headers: str) -> None:
        data = json.dumps(reply).encode()
        self.send_response(status)
        if isinstance(reply, dict) and reply.get("error") in ERROR_CODES:
            headers["X-Error-Code"] = ERROR_CODES[reply["error"]]
        headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def general(self, path: list[str], body: bytes, role: str):
        if path == ["whoami-v2"]:
            orgs = [{"name": "team", "roleInOrg": "write"}, {"name": "readers", "roleInOrg": "read"}]
            token = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
            return {"type": "user", "name": "alice", "orgs": orgs, "auth": token}, 200
        if path == ["validate-yaml"]:
            return {"errors": [], "warnings": []}, 200
        assert path == ["repos", "create"], path
        wanted = json.loads(body)
        name = f"{wanted['organization'] or 'alice'}/{wanted['name']}"
        reply = {"url": f"{self.server.url}/{name}", "name": name}
        if wanted.get("type") == "dataset":
            reply["url"], name = f"{self.server.url}/datasets/{name}", f"datasets/{name}"
        if name in self.server.repos:
            return {**reply, "error": "You already created this model repo"}, 409
        self.server.repos[name] = Repo(private=wanted.get("visibility") == "private")
        return reply, 200

    def of_repo(self, name: str, path: list[str], body: bytes):
        repo = self.server.repos.get(name)
        if repo is None:
            return {"error": "Repository not found"}, 404
        if not path or path[0] == "revision":
            name = name.removeprefix("datasets/")
            return {"id": name, "sha": SECOND_COMMIT, "private": repo.private, "tags": [], "siblings": []}, 200
        if path[0] == "commits":
            stamp = {"authors": [{"user": "alice"}], "date": "2026-01-01T00:00:00.000Z", "title": "t", "message": ""}
            return [{"id": SECOND_COMMIT, **stamp}, {"id": FIRST_COMMIT, **stamp}], 200
        if path[0] == "refs":
            refs = [{"name": b, "ref": f"refs/heads/{b}", "targetCommit": SECOND_COMMIT} for b in repo.branches]
            return {"branches": refs, "converts": [], "tags": []}, 200
        action, branch = path[0], path[1]
        if action == "branch":
            if branch in repo.branches:
                return {"error": "Reference already exists"}, 409
            repo.branches[branch] = Branch(start=json.loads(body).get("startingPoint"))
            return {}, 200
        if branch not in repo.branches:
            return {"error": "Revision not found"}, 404
        if action == "tree":
            files = repo.branches[branch].files
            return [{"type": "file", "path": f, "size": len(text), "oid": "0" * 40} for f, text in files.items()], 200
        if action == "preupload":
            self.server.preupload_seen.set()
            self.server.gate.wait(300)
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [
                "lfs" if self.server.uses_lfs and path.endswith((".safetensors", ".parquet")) else "regular"
                for path in paths
            ]
            files = [{"path": path, "uploadMode": mode} for path, mode in zip(paths, modes, strict=True)]
            return {"files": [{**file, "shouldIgnore": False, "oid": None} for file in files]}, 200
        assert action == "commit", path
        return self.commit(name, branch, repo.branches[branch], body)

    def commit(self, name: str, branch: str, target: Branch, body: bytes):
        if self.server.fail_next:
            self.server.fail_next -= 1
            return {"error": "Try again later"}, 503
        if branch in self.server.refuse:
            return {"error": "Storage limit reached"}, 403
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                target.messages.append(value["summary"])
            elif item["key"] == "deletedFile":
                del target.files[value["path"]]
            elif item["key"] == "lfsFile":
                target.files[value["path"]] = self.server.objects[value["oid"]]
            else:
                target.files[value["path"]] = base64.b64decode(value["content"])
        return {"commitUrl": f"{self.server.url}/{name}/commit/{'3' * 40}", "commitOid": "3" * 40}, 200

    def lfs_object(self, item: dict) -> dict:
        actions = {
            "upload": {"href": f"{self.server.url}/lfs/{item['oid']}"},
            "verify": {"href": f"{self.server.url}/lfs/verify"},
        }
        return {**item, "actions": actions}

    def put_object(self, path: list[str], body: bytes) -> dict:
        if path != ["verify"]:
            assert hashlib.sha256(body).hexdigest() == path[0]
            self.server.objects[path[0]] = body
        return {}

    def resolve(self, name: str, branch: str, file: str) -> None:
        repo = self.server.repos.get(name)
        if repo is None or branch not in repo.branches or file not in repo.branches[branch].files:
            self.send({"error": "Entry not found"}, 404)
            return
        content = repo.branches[branch].files[file]
        commit = hashlib.sha1(f"{branch} {len(repo.branches[branch].messages)}".encode()).hexdigest()
        etag = hashlib.sha256(content).hexdigest()
        self.send_response(200)
        for header, value in {
            "X-Repo-Commit": commit,
            "ETag": f'"{etag}"',
            "Content-Length": len(content),
        }.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def use_hub(server: Hub, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let `huggingface_hub` and our pushes of data talk to this server, as a user who may write."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + FILE_URL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_TOKEN", "hf_write")
