"""Keeps the closed word lists by which a sentence is known to be English and its verbs are mended."""

from __future__ import annotations

import re

from lightmem_cli.language.frequencies import is_listed

_AUXILIARIES = """
am are is was were do does did have has had can could shall should will would may might must don't doesn't
didn't haven't hasn't hadn't can't couldn't shan't shouldn't won't wouldn't isn't aren't wasn't weren't
"""
_ADVERBS = """
just also still even never always often both all too now sometimes kinda sort of only already almost soon ever
once again maybe perhaps then either not currently lately today yesterday rarely seldom barely hardly quite
rather
"""
# Without hit, put, read, let …: they may as well be past forms.
_BASE_VERBS = """
accept achieve act add admire admit adore advise afford agree aim allow answer apologize appear apply appreciate
argue arrive ask assume attend avoid bake be bear beat become begin believe belong bike blame boil book
borrow break breathe bring build burn buy call camp care carry catch cause celebrate challenge change chat
check cherish choose clean climb close coach code collect come commute compare compete complain complete connect
consider continue contribute cook count cover crave create cry cycle dance deal decide deserve design
develop die disagree discover discuss dislike do doubt draw dream dress drink drive earn eat embrace enjoy
ensure enter envy exercise exist expect experience explain explore express face fail fall fear feed feel fight
figure fill find finish fish fix fly focus follow forget forgive gain garden get give go grab grow guess
hang hate have head heal hear help hide hike hold hope hug hunt imagine improve include insist inspire
intend invest invite jog join joke journal juggle jump keep kick know lack laugh lead learn leave lend lie
lift like listen live look lose love maintain make manage march matter mean meditate meet mention mess mind miss
mix move need notice offer open order organize owe own paint pass pay perform pick plan plant play post practice
practise pray prefer prepare promise protect prove provide publish push race raise reach react
realize receive recommend record recover reduce refuse regret relate relax rely remain remember remind rent
repair reply require research respect rest return ride rise run save say see seek seem sell send serve share
shoot shop show sing sit skate ski sleep smell smile solve sound speak spend stand start stay stick stop stream
stretch struggle study suffer suggest support suppose surf swim take talk taste teach tell tend test thank think
throw tour train travel treasure treat trust try turn understand update use value view visit volunteer vote wait
wake walk want watch wear welcome win wish wonder work worry write
"""
_PAST_VERBS = """
ate became began bought brought built came caught chose did drew drove felt flew forgot found gave got grew had
heard held kept knew led left lost made met paid rode ran said sang sat saw sent slept sold spent spoke stood
swam taught thought threw told took tried understood went woke won wore wrote visited started finished joined
watched moved decided signed attended adopted enjoyed loved planned helped worked played talked learned tried
wanted wondered celebrated ended managed picked stumbled volunteered donated performed painted ordered baked
cooked hiked camped traveled discovered explored realized noticed
"""
_PARTICIPLES = """
been gone done seen taken given written known grown shown spoken broken chosen forgotten eaten driven fallen
drawn flown become begun had got gotten made heard met felt found kept left lost paid said sent spent told
thought never-ending
"""
_OPENING_STATES = """
glad happy sorry excited thrilled grateful thankful proud stoked pumped keen eager curious determined ready
lucky blessed
"""
_OPENING_PARTICIPLES = """
been planning hoping trying working loving feeling learning thinking looking getting going reading taking
heading
"""
# Function words that are English and hardly anything else …
_ENGLISH = """
the and that this with have has had you your yours it's i'm i've i'll i'd you're we're they're that's what's
don't didn't doesn't can't won't isn't they are been from what which who for but would could should about there
their them when where how because it she our than into after before just really get got did were his more
"""
# … and words of other languages in Latin letters that are hardly ever English. A word in both lists counts for neither.
_FOREIGN = """
der das und ist nicht ich ein eine einen mit auf für sich dem den von zu auch wir sie mein meine haben sind
wie wenn oder aber
le la les et est une des du je tu nous vous il elle que qui dans pour pas mon mes sur avec ce cette sont
avait mais
el los las es y en un una por con para mi mis yo se lo muy pero como está fue más su nosotros ser tengo
di che è non per il gli io mio mia sono ho hai ha della del nel questo molto anche più siamo i'l
o os um uma não eu meu minha com em na dos das foi são está mas muito ele ela você de da
het een van ik niet dat zijn mijn voor maar ook naar wij je jij heb hebben
och att det som är jag inte på för av den ett har var med mig vi ikke og jeg er på til vores
nie się że jest w z na jak mam mnie moje moja jestem jsem je se na že mám
ve bir bu da için ben çok ama değil benim și nu este sunt pe la cu mai
"""
_COMMON_OPENINGS = """
a an the this that these those it its he she they his her their you your we our my me what who whom whose which
when where why how did do does is are was were will would can could should shall may might must have has had if
so but and or not no yes yeah yep yup nope hey hi hello thanks thank thx wow woah whoa oh ah haha lol well sure
ok okay great good awesome cool nice sounds congrats congratulations absolutely definitely totally exactly glad
sorry here there let's let as at by for from in into of on to with about after before during since until while
because although though also then than just only even still all any some each every both many much more most
other such name tell
"""

_FIRST_PERSON = "i i'm i've i'd i'll me my mine myself we we're we've we'll we'd us our ours ourselves"
_SECOND_PERSON = "you your yours yourself you're you've you'll you'd"
_PRAISE = """
awesome amazing great cool wonderful nice lovely fantastic incredible impressive beautiful gorgeous inspiring
inspired perfect excellent sweet cute adorable stunning brilliant super fab fun glad happy thrilled excited
proud congrats congratulations thanks thank wow woah whoa hey hi hello yeah yep yup definitely absolutely
totally sounds looks okay sorry appreciate support haha woohoo hear chat catch
"""

AUXILIARIES = frozenset(_AUXILIARIES.split())
ADVERBS = frozenset(_ADVERBS.split())
BASE_VERBS = frozenset(_BASE_VERBS.split())
PAST_VERBS = frozenset(_PAST_VERBS.split())
PARTICIPLES = frozenset(_PARTICIPLES.split())
FIRST_PERSON = frozenset(_FIRST_PERSON.split())
SECOND_PERSON = frozenset(_SECOND_PERSON.split())
PRAISE = frozenset(_PRAISE.split())
COMMON_OPENINGS = frozenset(_COMMON_OPENINGS.split())
OPENING_STATES = frozenset(_OPENING_STATES.split())
OPENING_PARTICIPLES = frozenset(_OPENING_PARTICIPLES.split())
_BOTH = frozenset(_ENGLISH.split()) & frozenset(_FOREIGN.split())
_ENGLISH_WORDS = frozenset(_ENGLISH.split()) - _BOTH
_FOREIGN_WORDS = frozenset(_FOREIGN.split()) - _BOTH - BASE_VERBS
_BEHIND_I = BASE_VERBS | PAST_VERBS | ADVERBS | AUXILIARIES

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SAYS_I = re.compile(r"(?<!\w)(?:I['’](?:m|ve|ll|d)|I (?P<verb>[a-z']+))(?!\w)")


def words(text: str) -> list[str]:
    """The words of `text` in small letters, with straight apostrophes."""
    return [word.lower().replace("’", "'") for word in WORD.findall(text)]


def looks_english(text: str) -> bool:
    """Tell whether `text` is surely English: its small words say so, or "I love", or most of its words are."""
    spoken = words(text)
    english, foreign = _evidence(text)
    if foreign >= max(english, 1) or sum(word.isascii() for word in spoken) * 3 < len(spoken) * 2:
        return False
    return english > 0 or sum(is_listed(word.removesuffix("'s")) for word in spoken) * 4 >= len(spoken) * 3 > 0


def looks_foreign(text: str) -> bool:
    """Tell whether the small words of `text` show another language."""
    english, foreign = _evidence(text)
    return foreign > english


def _evidence(text: str) -> tuple[int, int]:
    """How many words of `text` are English only, "I love" counting double, and how many are foreign only.

    Foreign words with a capital are not counted: Los Angeles, Ben, MIT.
    """
    english = sum(word in _ENGLISH_WORDS for word in words(text))
    english += 2 * sum(_is_english_i(said) for said in _SAYS_I.finditer(text))
    return english, sum(word in _FOREIGN_WORDS for word in WORD.findall(text))


def _is_english_i(said: re.Match[str]) -> bool:
    verb = said["verb"]
    return verb is None or verb.endswith("ed") or verb in _BEHIND_I
