"""The format of recorded samples, byte by byte: one module a part, with its description on top.

- `json_lines`: the newest minutes, a JSON object a line
- `journal_header`: the first line of the file they stand in
- `block_writer`, `block_reader`: many ticks in one compressed block
- `column_encoding`: how a block's column becomes bytes
"""
