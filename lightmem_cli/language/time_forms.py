"""Keeps the forms in which a sentence mentions a time, as one expression behind a cheap look for a cue."""

from __future__ import annotations

import re

# Months that are plain words, and weekdays cut short, need their capital.
_MONTH = (
    r"(?P<{0}>(?-i:May|MAY|March|MARCH|Mar|August|AUGUST|Aug|Dec|Jan|Sept?|Oct)|january|february|feb|april|apr|june|july|"
    r"september|october|november|nov|december|(?-i:Jun|Jul))\b\.?"
)
_DAY = r"(?P<{0}>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?\b"
_YEAR = r"(?P<{0}>(?:19|20)\d\d)\b(?![,.]\d)"
_WEEKDAY = (
    r"(?P<weekday>monday|tuesday|wednesday|thursday|friday|saturday|sunday|"
    r"(?-i:Mon|Tues?|Wed|Thurs?|Thu|Fri|Sat|Sun)(?=\W|$))\b"
)
_COUNT = (
    r"(?P<{0}>\d{{1,3}}|an?|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(?:a )?(?:couple(?: of)?|few)|several)"
)
_UNIT = r"(?P<{0}>day|night|week|weekend|fortnight|month|year|decade)"
_CUED = r"(?:in|since|during|until|till|by|from|around|before|after|of|back in|through)"

_FORMS = (
    r"(?P<iso>(?:19|20)\d\d)[-/.](?P<iso_month>0?[1-9]|1[0-2])[-/.](?P<iso_day>0?[1-9]|[12]\d|3[01])(?!\d)",
    rf"{_DAY.format('day')}\s+(?:of\s+)?{_MONTH.format('day_month')}(?:,?\s+(?:of\s+)?{_YEAR.format('day_year')})?",
    rf"{_MONTH.format('us_month')}\s+(?:the\s+)?{_DAY.format('us_day')}(?!:)(?:,?\s+{_YEAR.format('us_year')})?",
    rf"{_MONTH.format('month')},?\s+(?:of\s+)?{_YEAR.format('month_year')}",
    r"(?P<foreign>(?:[12]\d|3[01]|0?[1-9])(?:\.|er|º|°)?\s+(?:de\s+)?[^\W\d_]{3,12}\.?\s+(?:de\s+)?(?:19|20)\d\d)\b",
    rf"(?P<season>spring|summer|autumn|fall|winter)\s+(?:of\s+)?{_YEAR.format('season_year')}",
    rf"\b{_CUED}\s+(?:the\s+)?(?:year\s+|early\s+|mid[- ]|late\s+)?{_YEAR.format('year')}(?![-/]\d)",
    r"\b(?:in|since|during|of|from)\s+the\s+(?:early\s+|late\s+|mid[- ])?(?P<decade>(?:19|20)\d0|[6-9]0)['’]?s\b",
    r"(?P<named>\bthe day (?:before yesterday|after tomorrow)|\b(?:yesterday|today|tonight|tomorrow)\b"
    r"|\blast (?:night|evening)\b|\bthis (?:morning|afternoon|evening)\b)",
    rf"\b{_COUNT.format('ago')}\s+{_UNIT.format('ago_unit')}s?\s+(?:ago|back)\b",
    rf"\bin\s+{_COUNT.format('ahead')}\s+{_UNIT.format('ahead_unit')}s?\b(?!['’])",
    rf"\b(?:last|past)\s+{_COUNT.format('span')}\s+{_UNIT.format('span_unit')}s?\b",
    rf"\b(?P<which>last|past|previous|this(?: past| coming)?|next|coming|following)\s+"
    rf"(?:(?P<unit>week(?:end)?|month|year|decade)|{_WEEKDAY}|(?P<which_season>spring|summer|autumn|fall|winter)"
    rf"|{_MONTH.format('which_month')})(?![-'’]\w{{2}})\b",
    rf"\bon\s+{_WEEKDAY.replace('weekday', 'bare_weekday')}",
    rf"\b{_CUED}\s+(?:early\s+|mid[- ]|late\s+|the (?:end|start|beginning|middle) of\s+)?"
    rf"{_MONTH.format('bare_month')}(?!\s+\d|['’]\w)",
)
# Chinese and Japanese dates stand between letters without a space.
_UNSPACED = (
    r"(?<!\d)(?P<cjk>(?:19|20)\d\d)\s?年\s?(?P<cjk_month>1[0-2]|0?[1-9])\s?月"
    r"(?:\s?(?P<cjk_day>[12]\d|3[01]|0?[1-9])\s?日)?"
)
MENTION = re.compile(rf"(?<![\w-])(?:{'|'.join(_FORMS)})|{_UNSPACED}", re.IGNORECASE)
CUE = re.compile(
    r"\d\d|\b(?:yesterday|today|tonight|tomorrow|ago|back|last|past|previous|this|next|coming|following)\b"
    r"|\bin\s+(?:an?|\w+)\s+(?:\w+\s+){0,2}(?:day|night|week|fortnight|month|year|decade)|\bon\s+[mtwfs]"
    r"|(?:uary|ember|march|april|october|may|june|july|august|jan|feb|apr|mar|jun|jul|aug|sept?|oct|nov|dec)\b",
    re.IGNORECASE,
)
AHEAD = re.compile(
    r"\b(?:will|going to|gonna|planning|plan to|plans|upcoming|can['’]?t wait|looking forward|hope to|hoping|tomorrow|"
    r"soon|let['’]s|have to|need to|want to|should|expecting|expects?|expected|due|scheduled|about to|starts?|begins?|"
    r"opens|(?:get(?:ting)? ready|prepar(?:e|ing)) (?:for|to)|(?:am|is|are|['’]m|['’]re) coming)\b|['’]ll\b",
    re.IGNORECASE,
)
