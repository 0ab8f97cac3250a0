"""Refuses an archive with anything that would lie, or lead, outside of its folder."""
import os.path
import sys
import tarfile


def outside(path):
    return os.path.isabs(path) or os.path.normpath(path).split("/")[0] == ".."


with tarfile.open(sys.argv[1]) as archive:
    for member in archive:
        target = member.linkname
        if member.issym() and not os.path.isabs(target):
            target = os.path.join(os.path.dirname(member.name), target)
        linked = member.issym() or member.islnk()
        if outside(member.name) or linked and outside(target):
            sys.exit(f"{member.name!r} leads outside")
        if not (linked or member.isfile() or member.isdir()):
            sys.exit(f"{member.name!r} is no file")
