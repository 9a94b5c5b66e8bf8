"""Rows of GSM8K as text with special tokens around question and answer."""

import argparse
import json
import re
from pathlib import Path

from datasets import load_dataset

parser = argparse.ArgumentParser()
parser.add_argument("--train", required=True)
parser.add_argument("--test", required=True)
arguments = parser.parse_args()

for split, path in (("train", arguments.train), ("test", arguments.test)):
    rows = load_dataset("openai/gsm8k", "main", split=split)
    with Path(path).open("w", encoding="utf-8") as file:
        for row in rows:
            answer = re.sub(r"<<.*?>>", "", row["answer"])  # the calculator's own notes
            text = f"<START_Q>{row['question']}<END_Q><START_A>{answer}<END_A>"
            file.write(json.dumps({"text": text}) + "\n")
