"""Keeps the closed word lists by which two of a conversation's statements are known to say the same, or not."""

from __future__ import annotations

import re
from collections.abc import Iterator


def _groups(text: str) -> Iterator[list[str]]:
    """The groups of `text`, parted by semicolons and lines, each a list of words."""
    return (group.split() for group in re.split(r"[;\n]", text) if group.strip())


def _named(text: str) -> dict[str, str]:
    """Each word of `text` with the first word of its group."""
    return {word: group[0] for group in _groups(text) for word in group}


_SAME = """
large big huge; small tiny; young little; woman lady; man guy; elderly old aged; kid child; mom mother mum mommy mama
dad father daddy papa; film movie; picture photo pic image photograph; bike bicycle; car automobile; begin start
buy purchase; home house; jump leap; speak talk chat; cut chop slice; plane airplane aeroplane aircraft; tv television
fridge refrigerator; phone telephone; sofa couch; boat ship; road street; happy glad; thankful grateful; love adore
help assist; fast quick; beautiful gorgeous; gray grey; afraid scared; trousers pants; forest woods; shop store
journey trip; stoked excited thrilled; awesome amazing incredible; yummy delicious tasty; mad angry; ill sick
pal buddy friend; someone somebody person; okay ok; update updated; favorite favourite; color colour
program programme; apartment flat; vacation holiday; usually normally; often frequently; finish complete; hurt injured
dead died die; blast explosion; win victory; congrats congratulations; thanks thank; error mistake; reply answer
choose pick; keep retain
"""
_IRREGULAR = """
eat ate eaten; run ran; sit sat; go went gone; take took taken; make made; say said; come came; see saw seen
find found; give gave given; tell told; feel felt; keep kept; hold held; write wrote written; stand stood; lose lost
pay paid; meet met; begin began begun; ride rode ridden; drive drove driven; buy bought; bring brought; build built
catch caught; choose chose chosen; draw drew drawn; fall fell fallen; fly flew flown; grow grew grown; know knew known
lead led; sing sang sung; sleep slept; sell sold; send sent; spend spent; speak spoke spoken; swim swam swum
teach taught; think thought; throw threw thrown; understand understood; wake woke woken; win won; wear wore worn
get got gotten; leave left; break broke broken; hear heard; forget forgot forgotten; shake shook shaken
rise rose risen; bite bit bitten
"""
_FORMS = (
    "man men; woman women; child children; person people persons; foot feet; tooth teeth; mouse mice; lie lying laying"
)

_OPPOSITES = """
on off; onto off; up down; in out; into out; inside outside; indoors outdoors; indoor outdoor; inside outdoors
indoors outside; to from; before after; over under; above below; with without; near far; close far; front behind
front back; open close; open shut; open closed; more less; more fewer; most least; higher lower; high low; raise lower
increase decrease; gain lose; hot cold; warm cold; warm cool; big small; long short; tall short; old young; old new
fast slow; happy sad; happy unhappy; good bad; better worse; best worst; easy hard; easy difficult; simple complex
rich poor; full empty; clean dirty; clear dirty; wet dry; dark light; dark bright; day night; early late; first last
begin end; begin finish; begin stop; continue stop; continue end; continue lift; win lose; buy sell; give take
give get; push pull; love hate; like hate; accept reject; accept refuse; accept decline; approve reject; arrive leave
arrive depart; come go; enter leave; enter exit; join leave; join quit; add remove; put remove; rise fall; gain fall
jump dip; rise drop; pass fail; remember forget; find lose; save spend; borrow lend; lend owe; ask answer; ask tell
teach learn; laugh cry; smile frown; wake sleep; asleep awake; sit stand; stand lie; sit lie; run walk; male female
alive dead; same different; left right; top bottom; top side; north south; east west; always never; always sometimes
many few; lot few; all some; all none; some none; most few; strong weak; safe dangerous; loud quiet; hard soft
thick thin; wide narrow; deep shallow; heavy light; cheap expensive; single married; marry divorce; legal illegal
follow lead; follow shun; show hide; reveal conceal; wear remove; build destroy; create destroy; break fix
break repair; agree disagree; support oppose; forward backward; mix separate; import export; include exclude
acquit convict; listen talk; hire fire; hire quit; improve worsen; public private; single double; ground air
calm nervous; calm anxious; healthy sick; healthy ill; proud ashamed; vegetarian vegan; enjoy hate; major minor
major several; friend enemy; guest host; student teacher; parent teacher; parent child; he she; him her; his her
i you; my your; we you; us you; our your; he i; she i; he you; she you; they he; they she; they i; they you
adopt abandon; attach detach; connect disconnect; appear disappear; assemble disassemble; gather scatter; catch throw
catch drop; lift drop; pick drop; climb descend; climb fall; float sink; land fly; stand fall; still move; rest work
relax work; stop go; stop move; stop play; ignore watch; ignore look; avoid approach; approach leave; escape chase
chop mend; cut mend; pour drink; fill drain; fry freeze; cook freeze; melt freeze; heat cool; crowded empty
crowded deserted; noisy quiet; loud silent; noisy silent; naked dressed; bare covered; steep flat; smooth rough
rough calm; straight curly; straight curved; straight bent; blond dark; blonde brunette; sweet bitter; sweet sour
raw cooked; fresh stale; fresh rotten; sharp dull; tight loose; plain colorful; gray colorful; ordinary special
lazy active; active passive; sunny rainy; sunny cloudy; tidy messy; polite rude; kind cruel; brave scared
confident nervous; honest dishonest; free busy; lucky unlucky; possible impossible; able unable; true false
right wrong; win tie; grow shrink; buy rent; own rent
"""
_ALTERNATIVES = """
red orange yellow green blue purple violet pink brown black white gray golden silver blond beige turquoise
dog cat horse cow pig sheep goat bird parrot fish rabbit hamster monkey elephant lion tiger bear panda snake turtle
poodle beagle labrador retriever husky terrier bulldog dachshund collie greyhound corgi chihuahua pug shepherd
man woman boy girl baby; boy man; girl woman
guitar piano violin drum flute trumpet cello harp saxophone keyboard clarinet ukulele banjo maraca
breakfast lunch dinner brunch supper; beef pork chicken shrimp tofu salmon turkey lamb; rice pasta bread noodle
cheese butter cream yogurt; potato tomato onion carrot broccoli mushroom garlic pepper cucumber
pizza burger taco sushi curry soup salad sandwich
apple banana orange pineapple mango lemon strawberry raspberry blueberry cherry peach pear grape peanut almond walnut
coffee tea beer wine water milk juice soda whiskey; cake pie cookie brownie tart cupcake
football soccer basketball baseball tennis golf hockey volleyball rugby cricket swimming boxing yoga karate skiing
doctor nurse lawyer engineer teacher artist writer musician chef driver farmer soldier dentist accountant designer
bus train plane bike motorcycle truck boat van taxi car; shirt skirt dress hat jacket coat shoe sock scarf trousers
wood metal steel plastic glass paper stone leather cotton; hand arm leg foot knee shoulder back head face eye ear nose
english french german spanish italian chinese japanese korean russian portuguese dutch arabic hindi
north south east west; northern southern eastern western; bachelor master doctorate; school college university
novel poem song play painting drawing sculpture screenplay; kitchen bathroom bedroom garden garage basement attic
asthma diabetes migraine cancer flu; christmas easter thanksgiving halloween; birthday wedding anniversary funeral
"""
_CALENDAR = """
january jan; february feb; march; april apr; may; june jun; july jul; august aug; september sept sep; october oct
november nov; december dec; monday; tuesday tues; wednesday; thursday thurs; friday fri; saturday; sunday; spring
summer; autumn; winter; today; yesterday; tomorrow; tonight; morning; afternoon; evening; night; noon; midnight
weekend; week; month; year; day; daily; weekly; monthly; yearly; hour; minute; ago; last; next
"""
_NUMBERS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty
"""
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
# Words that say whether, or how surely, a thing happened: by class.
_MODALS = """
may might could maybe perhaps possibly probably seemingly
will would shall gonna going plan plans planned planning intend intends intended aim aims aiming aimed hope hopes hoped
want wants wanted wish wishes wished wanna need needs needed should must dream dreams dreamed
try tries tried trying attempt attempts attempted attempting
if unless whether
can able
think thinks thought believe believes believed guess guesses suppose supposes
stop stops stopped stopping quit quits quitting resign resigns resigned
refuse refuses refused reject rejects rejected decline declines declined deny denies denied
fail fails failed failing unable
avoid avoids avoided avoiding prevent prevents prevented
lack lacks lacked lacking
former formerly ex
almost nearly
except besides
against
hate hates hated dislike dislikes disliked
forget forgets forgot forgotten
cancel cancels canceled cancelled
miss misses missed
only just
"""
_NEGATIONS = "not no never none nobody nothing nowhere neither nor without hardly barely rarely seldom"
_LIGHT = """
a an the is are am was were be been being do does did have has had having of to and or but that which who whom this
these those there it its itself as by at then than also so some such too very really truly super while when where with
for into onto upon through along in on off during within among amid toward towards from across around beside about up
over under near how what their his her he she they him them hers theirs yet now already my your i you we our me us out
down here
"""
_KIN = """
family parent mother father brother sister sibling son daughter aunt uncle cousin niece nephew grandmother grandfather
grandma grandpa grandparent wife husband spouse partner girlfriend boyfriend fiance fiancee roommate neighbor boss
colleague coworker stepmother stepfather twin
"""

SAME = _named(_SAME)
IRREGULAR = _named(_IRREGULAR)
FORMS = _named(_FORMS)
OPPOSITES = tuple((first, second) for first, second in _groups(_OPPOSITES))
ALTERNATIVES = tuple(_groups(_ALTERNATIVES))
CALENDAR = _named(_CALENDAR)
NUMBERS = {word: number for number, word in enumerate(_NUMBERS.split())} | {
    word: 10 * number for number, word in enumerate(_TENS.split(), start=2)
}
NUMBERS |= {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
ORDINALS = {word: f"{number}." for number, word in enumerate(_ORDINALS.split(), start=1)}
TENS = frozenset(_TENS.split())
MODALS = _named(_MODALS)
NEGATIONS = frozenset(_NEGATIONS.split())
LIGHT = frozenset(_LIGHT.split())
KIN = frozenset(_KIN.split())
