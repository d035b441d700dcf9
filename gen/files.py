"""Arrays on disk: .npy files that appear whole or not at all, their digests, and the folder that bounds the cache."""

import hashlib
import os
import shutil

import numpy as np

TEMPORARY = ".part-"  # prefix of files being written; those of a killed run are removed by the next


def digest(array):
    """SHA-256 of the array's bytes in C order: what the manifest holds; the header is not part of it."""
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8)).hexdigest()


def is_intact(path, sha256):
    try:
        return digest(np.load(path, allow_pickle=False)) == sha256
    except (OSError, ValueError, EOFError):
        return False


def write_whole(path, write):
    """Calls write(file) on a temporary file and renames it; on any error nothing is left."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f"{TEMPORARY}{os.getpid()}-{name}")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):  # a failed write does not know its file
            raise OSError(error.errno, error.strerror, path) from error
        raise


def write_array(path, array):
    array = np.ascontiguousarray(array)

    def write(file):
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8))  # not tofile, which hides the reason of a failure

    write_whole(path, write)


def write_lines(path, lines):
    write_whole(path, lambda file: file.write("".join(lines).encode("ascii")))


def remove_leftovers(folder):
    for root, _, names in os.walk(folder):
        for name in names:
            if name.startswith(TEMPORARY):
                os.unlink(os.path.join(root, name))


def trim(folder, limit, keep):
    """Removes the problem folders longest unwritten until the rest is within `limit` bytes; never those in `keep`."""
    sizes = {}
    for root, _, names in os.walk(folder):
        entries = [os.stat(os.path.join(root, name)) for name in names if name.endswith(".npy")]
        if entries:
            sizes[root] = (max(s.st_mtime for s in entries), sum(s.st_size for s in entries))
    total = sum(size for _, size in sizes.values())
    for root in sorted(sizes, key=lambda root: sizes[root][0]):
        if total <= limit:
            break
        if root not in keep:
            shutil.rmtree(root)
            total -= sizes[root][1]
    return total
