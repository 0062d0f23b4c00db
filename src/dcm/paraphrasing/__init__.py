"""Paraphrases: made by a language model behind an address or by name, filtered, kept."""

from dcm.paraphrasing.filters import Filters as Filters
from dcm.paraphrasing.making import Made as Made
from dcm.paraphrasing.making import Maker as Maker
from dcm.paraphrasing.making import make as make
from dcm.paraphrasing.opening import open_writer as open_writer
from dcm.paraphrasing.prompts import Prompts as Prompts
from dcm.paraphrasing.writer import Reply as Reply
from dcm.paraphrasing.writer import Writer as Writer
from dcm.paraphrasing.writer import WriterFailed as WriterFailed
from dcm.paraphrasing.writer import WriterRefused as WriterRefused
