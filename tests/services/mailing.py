"""The Mailer, for tests that cannot wait a minute."""

from zocalo_daemon.services import mailer

mailer.RESEND_AFTER = 0.2

Mailer = mailer.Mailer
