"""Lists the function words of a conversation: they say how it is said, not what it is about.

Only languages whose list was written by hand are here; elsewhere BM25 itself weighs frequent words down.
Words are as the analyzer makes them: case folded, English contractions without their apostrophe.
"""

from __future__ import annotations

from functools import cache

_ENGLISH = """
a about above after again against ain all also am an and any are aren arent as at be because been before being below
between both but by can cannot cant could couldn couldnt d did didn didnt do does doesn doesnt doing don dont down
during each few for from further had hadn hadnt has hasn hasnt have haven havent having he her here hers herself him
himself his how http https i id if ill im in into is isn isnt it itd itll its itself ive just ll m me might more most
must my myself no nor not of off on once only or other our ours ourselves out over own re s same shall shan shant she
should shouldn shouldnt so some such t than that thatd the their theirs them themselves then there these they theyd
theyll theyre theyve this those through to too under until up ve very was wasn wasnt we were weren werent weve what
when where which while who whom whose why will with won wont would wouldn wouldnt www you youd youll your youre yours
yourself yourselves youve
"""

_GERMAN = """
aber alle allem allen aller alles als also am an ander andere anderen auch auf aus bei beim bin bis bist da damit dann
das dass dein deine deinem deinen deiner dem den denn der des dich die dies diese diesem diesen dieser dieses dir doch
dort du durch ein eine einem einen einer eines er es euch euer eure für gegen hab habe haben hat hatte hatten hier hin
hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist ja jede jedem jeden jeder jedes kann kein keine
keinem keinen keiner können man mein meine meinem meinen meiner mich mir mit muss nach nein nicht nichts noch nun nur
ob oder ohne sehr sein seine seinem seinen seiner seit sich sie sind so soll sollte über um und uns unser unsere unter
viel vom von vor war waren warst was weil wenn wer werde werden wie wieder will wir wird wirst wo wollen wurde würde
würden zu zum zur zwischen
"""

_FRENCH = """
à ai aie ait as au aura aurait aux avait avec avez avoir avons c ce ceci cela ces cet cette ceux comme d dans de des
du elle elles en es est et étaient était étais été être eu eut eux fut il ils j je l la là le les leur leurs lui m ma
mais me même mes moi mon n ne ni nos notre nous on ont ou où par pas pour qu quand que quel quelle quelles quels qui
quoi s sa sans se sera serait ses si soi son sont sur t ta te tes toi ton tu un une vos votre vous y
"""

_SPANISH = """
a al algo ante antes aquel aquella como con contra cual cuando cuál cuándo cómo de del desde donde dónde dos e el él
ella ellas ellos en entre era eran eres es esa esas ese eso esos esta está están estaba estas este esto estos estoy
fue fueron fui ha haber había han has hasta hay he la las le les lo los me mi mí mis muy más nada ni no nos nosotros
nuestra nuestro o os otra otro para pero por porque que qué quien quién se sea ser si sí sido sin sobre son soy su sus
también te ti tiene tienen todo todos tu tú tus un una uno unos y ya yo
"""

_ITALIAN = """
a abbiamo ad ai agli al alla alle allo anche avere aveva avevo c che chi ci come con così cosa cui d da dagli dai dal
dalla dalle de degli dei del dell della delle dello di dove e è ed era erano ero essere fu fui gli ha hai hanno ho i
il in io l la le lei li lo loro lui ma mi mia mie miei mio ne negli nei nel nella nelle nello noi non nostra nostro o
per perché però più quale quando quanto quella quelle quelli quello questa queste questi questo s se sei si sia siamo
siete sono sta sto su sua sue sugli sui sul sulla suo suoi ti tra tu tua tue tuo tuoi tutti tutto un una uno vi voi
vostra vostro
"""

_PORTUGUESE = """
a à ao aos as às até com como da das de dela dele deles depois do dos e é ela elas ele eles em entre era eram essa
essas esse esses esta está estão estava este estes eu foi fomos for foram há isso isto já lhe lhes mais mas me mesmo
meu meus minha minhas muito na não nas nem no nos nós nossa nosso num numa o os ou para pela pelas pelo pelos por
porque qual quando que quem são se sem ser será seu seus só somos sou sua suas também te tem têm tenho ter teu tinha
tu tua um uma você vocês
"""

_DUTCH = """
aan al als ben bij dan dat de der deze die dit doch doen door dus een en er ge geen had hebben heeft hem het hier hij
hoe hun ik in is ja je jij jou jouw kan kon maar me meer men met mij mijn moet na naar niet niets nog nu of om omdat
ons ook op over te tegen toen tot u uit uw van veel voor waar want waren was wat we wel werd wie wij wil worden zal ze
zelf zich zij zijn zo zonder zou
"""

_LISTS = {
    "english": _ENGLISH,
    "german": _GERMAN,
    "french": _FRENCH,
    "spanish": _SPANISH,
    "italian": _ITALIAN,
    "portuguese": _PORTUGUESE,
    "dutch": _DUTCH,
}


@cache
def stop_words(language: str) -> frozenset[str]:
    """The function words of `language` (a Snowball name), case folded; none where no list is kept."""
    return frozenset(word.casefold() for word in _LISTS.get(language, "").split())
