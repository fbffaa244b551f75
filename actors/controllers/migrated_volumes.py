"""Kinds of volumes that once were built in, and the CSI drivers that serve them now.

Source: upstream's k8s.io/csi-translation-lib plugins; all of them are migrated for good in v1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BUILT_IN = "kubernetes.io/"
_MIGRATED = (
    ("awsElasticBlockStore", "kubernetes.io/aws-ebs", "ebs.csi.aws.com"),
    ("azureDisk", "kubernetes.io/azure-disk", "disk.csi.azure.com"),
    ("azureFile", "kubernetes.io/azure-file", "file.csi.azure.com"),
    ("cinder", "kubernetes.io/cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "kubernetes.io/gce-pd", "pd.csi.storage.gke.io"),
    ("portworxVolume", "kubernetes.io/portworx-volume", "pxd.portworx.com"),
    ("vsphereVolume", "kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com"),
)
"""The source in a volume's spec, the plugin's old name, the driver's."""
DRIVERS: Mapping[str, str] = {plugin: driver for _, plugin, driver in _MIGRATED}


def plugin_of(volume: Mapping[str, Any]) -> str | None:
    """Return the old name of the plugin that a volume is of, None for one that isn't migrated."""
    return next((plugin for source, plugin, _ in _MIGRATED if volume["spec"].get(source)), None)
