"""Why a connection to RabbitMQ does not come about or has ended, for people (pure)."""

from __future__ import annotations


def reason_of(kind: str, text: str, *, user: str, vhost: str, tls: bool) -> str:
    """Return one line that says what is wrong, and what to do if somebody must.

    Args:
        kind: name of pika's exception.
        text: what it says.
        tls: whether the connection uses TLS.
    """
    if kind == "ProbableAuthenticationError" or "ACCESS_REFUSED" in text:
        return f"the broker refuses user '{user}' or its password; check both in the configuration"
    if kind == "ProbableAccessDeniedError" or "NOT_ALLOWED" in text:
        return (
            f"user '{user}' may not use the vhost '{vhost}', or there is none; "
            "check the vhost, and its permissions by rabbitmqctl"
        )
    if kind == "IncompatibleProtocolError":
        advice = "is it ending?" if tls else "is it ending, or does this port want TLS?"
        return f"it closed the connection before it spoke AMQP 0-9-1: {advice}"
    if kind == "AMQPHeartbeatTimeout":
        return "the broker sent no heartbeat"
    return f"the broker closed the connection: {text}" if kind.startswith("ConnectionClosed") else text
