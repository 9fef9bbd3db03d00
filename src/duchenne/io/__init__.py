"""Read and write files: atomically, in plain formats, without pickle, untrusted input bounded."""

from duchenne.io.bounded import parse_json, read_arrays, read_bytes, read_json
from duchenne.io.export import to_openface, to_pyfeat, write_as
from duchenne.io.files import (
    atomic,
    check_folder,
    plain,
    private_folder,
    read_toml,
    sha256,
    staged,
    write_json,
    write_text,
)
from duchenne.io.followed import Block, End, Stored
from duchenne.io.foreign import action_units, dialect, tracks_from_openface, tracks_from_pyfeat
from duchenne.io.frames import FRAME_COLUMNS, check_parquet, frames_table, tracks_from_table, write_frames
from duchenne.io.table import (
    Row,
    Table,
    neutral,
    original,
    quoted,
    read_sheet,
    read_table,
    row_writer,
    rows_csv,
    shown,
    table_csv,
    write_table,
)
from duchenne.io.tracks import load_tracks, save_tracks

__all__ = [
    "FRAME_COLUMNS",
    "Block",
    "End",
    "Row",
    "Stored",
    "Table",
    "action_units",
    "atomic",
    "check_folder",
    "check_parquet",
    "dialect",
    "frames_table",
    "load_tracks",
    "neutral",
    "original",
    "parse_json",
    "plain",
    "private_folder",
    "quoted",
    "read_arrays",
    "read_bytes",
    "read_json",
    "read_sheet",
    "read_table",
    "read_toml",
    "row_writer",
    "rows_csv",
    "save_tracks",
    "sha256",
    "shown",
    "staged",
    "table_csv",
    "to_openface",
    "to_pyfeat",
    "tracks_from_openface",
    "tracks_from_pyfeat",
    "tracks_from_table",
    "write_as",
    "write_frames",
    "write_json",
    "write_table",
    "write_text",
]
