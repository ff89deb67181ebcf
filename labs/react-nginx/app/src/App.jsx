import { useState } from 'react'

import finishedCrate from './assets/finished-crate.svg'
import workshopCrate from './assets/workshop-crate.svg'

const CRATES = {
  workshop: {
    tab: 'Workshop crate',
    picture: workshopCrate,
    alt: 'A crate stuffed with a saw, a plane, a hammer, planks, offcuts and shavings; the finished stool is somewhere among them.',
    heading: 'One stage ships the whole workshop',
    text: 'Compiler, package manager, source, build dependencies: a single-stage image takes them all along, to every machine it runs on.',
    items: ['node and npm', 'node_modules', 'the source', 'dist'],
  },
  finished: {
    tab: 'Finished-goods crate',
    picture: finishedCrate,
    alt: 'A small, clean crate that holds the finished stool and nothing else.',
    heading: 'The runtime stage ships the product',
    text: 'A multi-stage build keeps the workshop in the builder stage and copies the finished artifact into a small, clean image.',
    items: ['nginx', 'dist'],
  },
}

function Tab({ name, chosen, onChoose }) {
  return (
    <button
      type="button"
      role="tab"
      id={`tab-${name}`}
      aria-selected={chosen === name}
      aria-controls="crate"
      className={`tab ${name}`}
      onClick={() => onChoose(name)}
    >
      {CRATES[name].tab}
    </button>
  )
}

export default function App() {
  const [chosen, setChosen] = useState('workshop')
  const crate = CRATES[chosen]
  return (
    <main>
      <header>
        <p className="eyebrow">Multi-stage Docker builds</p>
        <h1>Build heavy, ship light</h1>
      </header>
      <div className="tabs" role="tablist" aria-label="Which crate is shipped">
        {Object.keys(CRATES).map((name) => (
          <Tab key={name} name={name} chosen={chosen} onChoose={setChosen} />
        ))}
      </div>
      <section id="crate" role="tabpanel" aria-labelledby={`tab-${chosen}`} className={chosen}>
        <img src={crate.picture} alt={crate.alt} width="560" height="380" />
        <div>
          <h2>{crate.heading}</h2>
          <p>{crate.text}</p>
          <ul aria-label="What is in the image">
            {crate.items.map((item) => (
              <li key={item}>{item}</li>
            ))}
          </ul>
        </div>
      </section>
    </main>
  )
}
