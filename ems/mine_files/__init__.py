"""Mine two text files for translations, of any size, in bounded memory and resumably."""

from ems.mine_files.command import MiningReport, mine_files

__all__ = ["MiningReport", "mine_files"]
