"""The uv that installs everything on a host: one version, one wheel per architecture, each with its sha256."""

from __future__ import annotations

UV_VERSION = "0.13.8"

# {what `uname -m` says: (file name on the package index, sha256 of that file)}. Built for glibc 2.17 and newer.
UV_WHEELS = {
    "x86_64": (
        "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",
    ),
    "aarch64": (
        "uv-0.13.8-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
        "0b3e8b1a4f5e405e31e2ff33de8af4744831e9f7338539671efbd8c3c94e791d",
    ),
}
