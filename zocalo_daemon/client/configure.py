"""zocaloctl configure-rabbitmq: becomes zocalo_daemon.definitions, which reads YAML and asks the broker.

A process of its own, so that no other command pays for importing the configuration.
"""

from __future__ import annotations

from zocalo_daemon.client.becoming import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from zocalo_daemon.client.connection import Connection


def configure_rabbitmq_options(parser: ArgumentParser) -> None:
    """Declare the arguments of `configure-rabbitmq`."""
    add = parser.add_argument
    add("-?", action="help", help="show this help message and exit")
    add("configuration", metavar="FILE", help="what RabbitMQ is to have, as YAML")
    add("--user-config", metavar="DIR", help="directory with a file *.ini for each user")
    add("--dry-run", action="store_true", help="show what would change and do nothing; 3 if anything would")
    add("--force", action="store_true", help="remove also queues and virtual hosts that have messages")
    what = "environment of the site configuration whose rabbitmqapi is meant; may be repeated"
    add("-e", "--environment", action="append", default=[], metavar="ENV", help=what)
    add("--transport", metavar="NAME", help="the transport of zocalod.yaml whose management is meant")
    add("--config", metavar="FILE", help="that zocalod.yaml, if it is not in its usual place")


def configure_rabbitmq(_daemon: Connection, options: Namespace) -> int:
    """Make RabbitMQ hold what a file says; does not return, unless what does it is not installed.

    Raises:
        ZocaloError: it is not installed, or cannot be run.
    """
    become(
        "definitions",
        [*_given(options), "--", options.configuration],
        lacking="this cannot be done here",
        remedy="install all of zocalo-daemon",
    )


def _given(options: Namespace) -> list[str]:
    """Return the options that make these."""
    given = [f"--{name.replace('_', '-')}" for name in ("dry_run", "force", "json") if getattr(options, name)]
    given += [f"--environment={one}" for one in options.environment]
    for name in ("user_config", "transport", "config"):
        value = getattr(options, name)
        given += [f"--{name.replace('_', '-')}={value}"] if value else []
    return given
