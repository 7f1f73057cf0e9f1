"""From an archive or a folder to one ``CompetitionData``."""
