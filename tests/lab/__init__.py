"""The lab: real hosts, far hosts and S3 servers for the end-to-end tests. See also `python -m tests.lab`."""

from tests.lab.availability import why_unavailable
from tests.lab.delay import DelayProxy
from tests.lab.host import LabHost
from tests.lab.image import SUDO_PASSWORD, WITHOUT_PYTHON, Image
from tests.lab.layers import Snapshot
from tests.lab.program import LabError, ProgramFailed
from tests.lab.s3 import Keys, MotoS3, RcloneS3

__all__ = [
    "SUDO_PASSWORD",
    "WITHOUT_PYTHON",
    "DelayProxy",
    "Image",
    "Keys",
    "LabError",
    "LabHost",
    "MotoS3",
    "ProgramFailed",
    "RcloneS3",
    "Snapshot",
    "why_unavailable",
]
