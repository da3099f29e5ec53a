"""AWS on the operator's side: profiles, instances, security groups, buckets, policies and roles.

Nothing here prints or asks. boto3 is imported when something is asked of AWS, not before.
"""

from __future__ import annotations

from mlflow_provision.aws.profiles import ProfileKeys, profile_keys, profile_names
from mlflow_provision.aws.session import NotAllowed, default_region, regions

__all__ = ["NotAllowed", "ProfileKeys", "default_region", "profile_keys", "profile_names", "regions"]
