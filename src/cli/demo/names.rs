//! Names and places, the most common first. The generator draws early entries more often: as in a real population, a
//! few names are common and most are rare.

/// Given names.
pub(super) const GIVEN: &str = "\
    james mary john anna michael sarah david emma thomas laura daniel olivia peter sophie william julia \
    robert emily paul maria mark lisa andrew jessica christopher charlotte joseph elizabeth matthew hannah \
    george katherine stephen rachel martin susan richard margaret simon claire edward helen lucas alice jack \
    grace henry eva samuel ruth anthony patricia benjamin nicole oliver karen charles amelia patrick \
    isabella alexander jennifer noah mia liam barbara philip rebecca adam linda oscar victoria kevin \
    christine jonas lucy max sandra felix angela leon monika ryan diana nathan caroline brian teresa gary \
    louise ian fiona keith monica alan judith ali fatima mohammed aisha omar leila hassan zahra wei mei jun \
    ling hiroshi yuki raj priya arjun anjali vikram sunita carlos ana juan carmen luis rosa miguel elena \
    pedro lucia antonio isabel giovanni chiara marco francesca luca giulia pierre camille antoine margaux \
    etienne helene ivan natasha dmitri olga sergei irina nikolai tatiana piotr agnieszka tomasz ewa andrzej \
    zofia lars ingrid erik astrid magnus freya nils sigrid johan anneke pieter marijke willem saskia kofi \
    ama kwame abena chidi ngozi tunde folake tariro tendai malik nadia yusuf amina declan siobhan ciaran \
    niamh rory aoife callum isla hamish morag rhys cerys dylan bronwyn gareth sian cedric beatrice rupert \
    philippa barnaby henrietta ambrose cordelia lionel rosalind quentin winifred horace mildred";

/// Family names.
pub(super) const FAMILY: &str = "\
    smith jones brown taylor wilson martin walker johnson white thompson lee wright robinson hall clarke \
    green king baker harris hill scott cooper ward turner morris moore wood clark watson harrison young \
    allen mitchell anderson phillips campbell parker bell bennett collins davies evans murphy kelly stewart \
    roberts edwards hughes lewis williams miller davis garcia nguyen patel singh khan ahmed chen wang kim \
    schmidt mueller schneider fischer weber meyer wagner becker schulz hoffmann koch bauer richter klein \
    wolf neumann schwarz zimmermann braun krueger hartmann lange werner dubois moreau laurent lefebvre leroy \
    roux fournier girard bonnet dupont rossi russo ferrari esposito bianchi romano colombo ricci marino \
    greco lopez martinez sanchez perez gonzalez rodriguez fernandez gomez diaz torres silva santos oliveira \
    pereira costa carvalho almeida ferreira nowak kowalski wisniewski wojcik kaminski lewandowski zielinski \
    novak svoboda dvorak horvat kovacs nagy szabo popescu ionescu ivanov petrov sidorov volkov hansen \
    johansen olsen larsen andersson johansson karlsson nilsson eriksson virtanen korhonen jansen devries \
    vandenberg bakker visser smit meijer mulder yilmaz kaya demir celik sahin hussein abdullah rahman \
    chowdhury sharma gupta kumar reddy iyer banerjee fernando perera tanaka suzuki takahashi watanabe \
    yamamoto nakamura park choi tran pham hoang santiago reyes cruz bautista okafor adeyemi okonkwo mensah \
    boateng mwangi otieno dlamini nkosi vanwyk botha obrien osullivan oconnor mccarthy gallagher doherty \
    kennedy lynch macdonald mackenzie fraser sinclair buchanan griffiths llewellyn bowen pritchard \
    fairweather goldsmith blackwood thistlewood winterbourne ashdown penhaligon trelawney cholmondeley \
    featherstone bickerstaff longbottom applegarth stonehouse merriweather hollingsworth kingfisher lockhart \
    marchbanks netherfield oldershaw pemberton quartermaine ravenscroft summerhayes underhill vavasour \
    wetherby yarrow";

/// Places of residence.
pub(super) const PLACES: &str = "\
    london sydney berlin paris toronto melbourne madrid rome hamburg vienna birmingham manchester brisbane \
    munich milan lyon barcelona montreal perth glasgow dublin amsterdam brussels warsaw prague budapest \
    lisbon copenhagen stockholm oslo helsinki zurich geneva cologne frankfurt stuttgart leipzig dresden \
    bristol leeds liverpool sheffield edinburgh cardiff belfast adelaide canberra hobart darwin newcastle \
    wollongong geelong auckland wellington christchurch vancouver calgary ottawa quebec winnipeg halifax \
    boston chicago denver seattle portland austin atlanta nashville valencia seville bilbao naples turin \
    bologna florence palermo genoa marseille toulouse bordeaux nantes lille strasbourg rotterdam utrecht \
    eindhoven antwerp ghent porto coimbra krakow gdansk poznan brno graz salzburg innsbruck basel lausanne \
    malmo gothenburg uppsala bergen trondheim tampere turku aarhus odense galway cork limerick aberdeen \
    dundee inverness swansea exeter plymouth norwich lincoln york durham ballarat bendigo toowoomba cairns \
    dunedin hamilton tauranga kingston guelph regina moncton";
