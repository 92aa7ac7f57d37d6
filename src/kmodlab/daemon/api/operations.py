"""The operations of `openapi.yaml` by their ids: where each is, and who may ask. A unit test holds both together."""

from __future__ import annotations

from dataclasses import dataclass

from .sessions import Role


@dataclass(frozen=True)
class Operation:
    """One of them; `role` is what it takes, None where nobody has to say who they are."""

    id: str
    method: str
    path: str
    role: Role | None = Role.READER


_V1 = "/api/v1"
OPERATIONS = (
    Operation("describeApi", "GET", f"{_V1}/openapi.yaml"),
    Operation("readSession", "GET", f"{_V1}/session"),
    Operation("openSession", "POST", f"{_V1}/session", None),
    Operation("closeSession", "DELETE", f"{_V1}/session"),
    Operation("createInvitation", "POST", f"{_V1}/invitations", Role.ADMIN),
    Operation("listHosts", "GET", f"{_V1}/hosts"),
    Operation("readMachine", "GET", f"{_V1}/machine"),
    Operation("readLedger", "GET", f"{_V1}/ledger"),
    Operation("streamTicks", "GET", f"{_V1}/stream"),
    Operation("listRates", "GET", f"{_V1}/rates"),
    Operation("listTop", "GET", f"{_V1}/top"),
    Operation("listEvents", "GET", f"{_V1}/events"),
    Operation("listBlocked", "GET", f"{_V1}/blocked"),
    Operation("listChanges", "GET", f"{_V1}/changes"),
    Operation("listTasks", "GET", f"{_V1}/tasks"),
    Operation("listTaskRates", "GET", f"{_V1}/tasks/rates"),
    Operation("control", "POST", f"{_V1}/control", Role.ADMIN),
    Operation("readMetrics", "GET", "/metrics"),
)
