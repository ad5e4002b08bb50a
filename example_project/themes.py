"""
The themes a paragraph may have, each with the words that give it away.

Claude needs the names and a hint; the emulator only compares words, so the descriptions are rich in them.
"""

THEMES = {
    "war and defense": (
        "War, battle, victory, defeat, enemy, invasion, conquest, army, navy, naval, military, troops, "
        "soldiers, sailors, officers, militia, volunteers, regiments, frigates, fleet, cruisers, "
        "blockade, fortifications, forts, ordnance, arms, ammunition, weapons, missiles, bombers, "
        "aircraft, forces, defense, combat, rebellion, rebels, insurgents, insurrection, loyal, "
        "aggression, terrorists, terrorism, Nazi, Hitler, Axis, allied, Iraq, Vietnam, Korea, "
        "Afghanistan, Al Qaida."
    ),
    "foreign affairs": (
        "Treaty, convention, minister, ambassador, envoy, diplomatic, negotiation, ratification, foreign "
        "powers and relations, Britain, British, France, French, Spain, Spanish, Mexico, Russia, Germany, "
        "China, Japan, Turkey, Colombia, Venezuela, Chile, Peru, Brazil, Cuba, Hawaii, Nicaragua, "
        "Majesty, Emperor, King, republic, neutral, neutrality, arbitration, claims, boundary, consul, "
        "alliance, NATO, Soviet, communist, Middle East, Israel, international, friendly, amicable."
    ),
    "economy and trade": (
        "Economy, economic growth, business, commerce, trade, market, tariff, duties, customs, imports, "
        "exports, manufactures, manufacturers, merchandise, industry, corporations, antitrust, monopoly, "
        "combination, competition, consumers, prices, inflation, recession, depression, prosperity, "
        "investment, production, productivity, companies, entrepreneurs."
    ),
    "money and debt": (
        "Treasury, revenue, receipts, expenditures, surplus, deficit, debt, loans, bonds, redemption, "
        "currency, coin, coinage, gold, silver, specie, notes, paper money, bank, banks, banking, "
        "deposits, mint, tax, taxes, taxation, income tax, budget, appropriations, fiscal year, "
        "estimates, billion, million, dollars, spending."
    ),
    "slavery and civil rights": (
        "Slavery, slave, slaves, slaveholding, emancipation, abolition, African, fugitive, freedmen, "
        "colored, negro, race, racial, black, lynching, segregation, discrimination, civil rights, vote, "
        "voting, voters, ballot, suffrage, franchise, reconstruction, equality, minorities, women, "
        "gender, Kansas, secession, disunion."
    ),
    "Indian affairs": (
        "Indian, Indians, tribe, tribes, tribal, savage, Cherokee, Creek, Choctaw, Chickasaw, Seminole, "
        "Sioux, Apache, Mohawk, Wabash, reservation, annuities, allotment, hostile, hostilities, "
        "depredations, frontier, hunting, warriors, chiefs."
    ),
    "land and farming": (
        "Lands, acres, survey, settlers, settlement, homestead, preemption, patents, farm, farmers, "
        "farming, agriculture, agricultural, crop, crops, harvest, wheat, cotton, corn, cattle, "
        "livestock, soil, seeds, irrigation, reclamation, forest, forests, forestry, rural."
    ),
    "transport and post": (
        "Road, roads, canals, rivers, harbors, navigation, lighthouses, bridges, railroad, railroads, "
        "railways, freight, carriers, steamships, mail, mails, postage, postal, post office, postmaster, "
        "routes, telegraph, cable, isthmus, Panama, highways, traffic, aviation, airlines, radio, "
        "infrastructure, transportation."
    ),
    "jobs and welfare": (
        "Labor, laborers, workers, workingmen, employees, employers, employment, unemployment, "
        "unemployed, jobs, job, wages, minimum wage, strike, strikes, collective bargaining, pensions, "
        "pensioners, veterans, widows, orphans, relief, welfare, poverty, poor, hunger, social security, "
        "retirement, elderly, families, family, parents, housing, immigration, immigrants."
    ),
    "health and schools": (
        "Health, health care, insurance, Medicare, Medicaid, hospital, hospitals, doctors, nurses, "
        "patients, medical, medicine, disease, diseases, epidemic, yellow fever, cholera, quarantine, "
        "cancer, AIDS, drugs, opioid, education, educational, school, schools, teachers, students, "
        "college, colleges, university, learning, children, kids, youth, literacy, training, science, "
        "research."
    ),
    "law and elections": (
        "Constitution, constitutional, amendment, courts, court, Supreme Court, judges, judicial, "
        "judiciary, jurisdiction, attorney, justice, legislature, crime, crimes, criminals, police, gun, "
        "guns, prison, prosecution, jury, offenses, punishment, elections, electoral, electors, campaign, "
        "lobbyists, civil service, reorganization, bureaucracy, regulations, veto, census, District of "
        "Columbia, prohibition, statutes, laws."
    ),
    "energy and nature": (
        "Energy, oil, petroleum, gas, gasoline, coal, solar, synthetic, fuel, fuels, nuclear, atomic, "
        "electricity, electric, conservation, conserve, natural resources, environment, environmental, "
        "pollution, clean air, water, wilderness, parks, wildlife, climate, carbon, minerals, mining, "
        "mines, flood, waterpower, drought."
    ),
    "other": (
        "Greetings and ceremony: Mr. Speaker, distinguished guests, thank you, thanks, applause, "
        "audience, evening, tonight, honor, tribute, God bless, Almighty, Providence, gratitude, hope, "
        "dream, spirit, hearts, faith, heroes, gallery, or anything that fits nowhere else."
    ),
}
