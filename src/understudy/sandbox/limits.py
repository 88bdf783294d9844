"""What a session is held to. Every default is a number of `core/limits.py`."""

from msgspec import Struct

from understudy.core import limits

__all__ = ["SandboxLimits"]


class SandboxLimits(Struct, frozen=True, kw_only=True):
    call_seconds: float = limits.SANDBOX_CALL_SECONDS
    grace_seconds: float = limits.SANDBOX_GRACE_SECONDS
    idle_seconds: float = limits.SANDBOX_IDLE_SECONDS
    life_seconds: float = limits.SANDBOX_LIFE_SECONDS
    wait_seconds: float = limits.SANDBOX_WAIT_SECONDS
    memory_bytes: int = limits.SANDBOX_MEMORY_BYTES
    address_bytes: int = limits.SANDBOX_ADDRESS_BYTES
    processes: int = limits.SANDBOX_PROCESSES_MAX
    open_files: int = limits.SANDBOX_OPEN_FILES_MAX
    file_bytes: int = limits.SANDBOX_FILE_BYTES
    disk_bytes: int = limits.SANDBOX_DISK_BYTES
    disk_free_bytes: int = limits.SANDBOX_DISK_FREE_BYTES
    entries: int = limits.SANDBOX_ENTRIES_MAX
    nesting: int = limits.SANDBOX_NESTING_MAX
    tmp_bytes: int = limits.SANDBOX_TMP_BYTES
    home_bytes: int = limits.SANDBOX_HOME_BYTES
    shm_bytes: int = limits.SANDBOX_SHM_BYTES
    text_bytes: int = limits.SANDBOX_TEXT_BYTES_MAX
    flood_bytes: int = limits.SANDBOX_FLOOD_BYTES_MAX
    images: int = limits.SANDBOX_IMAGES_MAX
    image_bytes: int = limits.SANDBOX_IMAGE_BYTES_MAX
